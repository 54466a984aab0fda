/*
 * Writing the record of a crash; see crash.h.
 *
 * Rules: the handler runs on a thread whose stack may be nearly full, whose TLS may be overwritten and
 * that may have been inside anything: raw system calls only, no TLS, working memory from the runtime
 * area. All signals are blocked, so a fault in here ends the process as the first one would have.
 */
#include "crash.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/procfs.h>
#include <time.h>
#include <ucontext.h>

#include "arch/x86_64/context.h"
#include "base/hidden.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/parse.h"
#include "base/sys.h"
#include "bus.h"
#include "engine.h"
#include "threads/thread.h"

#define MAX_FILES 2048
#define NAMES_SIZE (128 * 1024)
#define RED_ZONE 128
#define GUARD_LIMIT (1UL << 20) /* how far below its stack an overflowing stack pointer may be */
#define WAIT_FOR_RECORD_S 5     /* how long a second crashing thread waits for the first one's record */

enum crash_state {
	CRASH_NONE = 0,
	CRASH_WRITING = 1, /* by one thread; others wait */
	CRASH_WRITTEN = 2,
};

/* An entry of NT_FILE. */
struct mapped_file {
	uint64_t start, end;
	uint64_t page; /* offset in the file, pages */
};

struct crash_head {
	Elf64_Ehdr header;
	Elf64_Phdr segments[2]; /* notes, stack */
	uint8_t notes[CRASH_HEAD_LIMIT - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
};

struct crash_buffer {
	struct crash_head head;
	size_t notes_length;
	struct mapped_file files[MAX_FILES];
	uint64_t file_count;
	char names[NAMES_SIZE];
	size_t names_length;
	bool truncated;
	uint64_t stack_start, stack_end;
	char text[2 * PATH_MAX]; /* of /proc/self/maps */
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};

#define SIGNALS ((int)(sizeof(signals) / sizeof(signals[0])))

/* ---- catching ---- */

bool rt_crash_watches(int signal)
{
	for (int i = 0; i < SIGNALS; i++)
		if (signals[i] == signal)
			return true;
	return false;
}

struct sigaction rt_crash_defaults[NSIG];

static void set_default(int signal)
{
	const struct sigaction *asked = &rt_crash_defaults[signal];
	struct rt_kernel_sigaction action = {.handler = (void *)SIG_DFL, .flags = (unsigned long)asked->sa_flags};
	memcpy(&action.mask, &asked->sa_mask, sizeof(action.mask));
	rt_syscall(SYS_rt_sigaction, signal, &action, NULL, sizeof(uint64_t));
}

static void stand_in(int signal)
{
	const struct rt_kernel_sigaction action = {
		.handler = rt_crash_handle,
		.flags = SA_SIGINFO | SA_ONSTACK | RT_SA_RESTORER,
		.restorer = rt_arch_signal_return,
		.mask = ~0UL,
	};
	rt_syscall(SYS_rt_sigaction, signal, &action, NULL, sizeof(uint64_t));
}

void rt_crash_reset(int signal, const struct sigaction *asked)
{
	rt_crash_defaults[signal] = *asked;
	rt_crash_defaults[signal].sa_handler = SIG_DFL;
	rt_crash_defaults[signal].sa_flags |= (int)RT_SA_RESTORER;
	stand_in(signal);
}

void rt_crash_install(void)
{
	for (int i = 0; i < SIGNALS; i++) {
		struct rt_kernel_sigaction old;
		if (rt_syscall(SYS_rt_sigaction, signals[i], NULL, &old, sizeof(uint64_t)) == 0 &&
		    old.handler == (void *)SIG_DFL)
			stand_in(signals[i]);
	}
}

void rt_crash_remove(void)
{
	for (int i = 0; i < SIGNALS; i++) {
		struct rt_kernel_sigaction action;
		if (rt_syscall(SYS_rt_sigaction, signals[i], NULL, &action, sizeof(uint64_t)) == 0 &&
		    action.handler == rt_crash_handle)
			set_default(signals[i]);
	}
}

int rt_crash_open(struct engine *engine)
{
	engine->crash = rt_memory_map(sizeof(*engine->crash));
	if (engine->crash == NULL)
		return -ENOMEM;
	engine->crash_fd = rt_hide(rt_store_open_file(rt_root.directory, CRASH_FILE, O_RDWR | O_CREAT, 0));
	return engine->crash_fd < 0 ? engine->crash_fd : 0;
}

void rt_crash_clear(struct engine *engine)
{
	rt_sys_ftruncate(engine->crash_fd, 0);
}

/* ---- what is mapped ---- */

static void note_file(struct crash_buffer *crash, uint64_t start, uint64_t end, uint64_t offset, const char *name)
{
	size_t length = strlen(name) + 1;
	if (crash->file_count == MAX_FILES || crash->names_length + length > sizeof(crash->names)) {
		crash->truncated = true;
		return;
	}
	crash->files[crash->file_count++] = (struct mapped_file){start, end, offset / RT_PAGE_SIZE};
	memcpy(crash->names + crash->names_length, name, length);
	crash->names_length += length;
}

/* The mapping that holds the stack pointer; after an overflow, the one above the guard. */
static void note_stack(struct crash_buffer *crash, uint64_t start, uint64_t end, uint64_t stack_pointer)
{
	uint64_t lowest = (stack_pointer - RED_ZONE) & ~15UL;
	if (crash->stack_end != 0 || end <= stack_pointer || start > stack_pointer + GUARD_LIMIT)
		return;
	crash->stack_start = lowest > start && lowest < end ? lowest : start;
	crash->stack_end = end - crash->stack_start > CRASH_STACK_LIMIT ? crash->stack_start + CRASH_STACK_LIMIT : end;
}

/* One line: "start-end rwxp offset major:minor inode   name". */
static void note_mapping(struct crash_buffer *crash, const char *line, uint64_t stack_pointer)
{
	uint64_t start = rt_parse_hex(&line);
	line++;
	uint64_t end = rt_parse_hex(&line);
	bool readable = line[1] == 'r';
	line += 6;
	uint64_t offset = rt_parse_hex(&line);
	const char *name = strchr(line, '/');
	if (readable)
		note_stack(crash, start, end, stack_pointer);
	if (name != NULL)
		note_file(crash, start, end, offset, name);
}

/* By offset: the checkpoint thread may be reading from the same descriptor. */
static void note_mappings(struct engine *engine, uint64_t stack_pointer)
{
	struct crash_buffer *crash = engine->crash;
	size_t held = 0;
	off_t at = 0;
	for (;;) {
		ssize_t got = rt_sys_pread(engine->maps_fd, crash->text + held, sizeof(crash->text) - held, at);
		if (got <= 0)
			return;
		held += (size_t)got;
		at += got;
		size_t start = 0;
		for (size_t i = 0; i < held; i++) {
			if (crash->text[i] != '\n')
				continue;
			crash->text[i] = '\0';
			note_mapping(crash, crash->text + start, stack_pointer);
			start = i + 1;
		}
		held -= start;
		memmove(crash->text, crash->text + start, held);
	}
}

/* ---- notes ---- */

static void put(struct crash_buffer *crash, const void *bytes, size_t length)
{
	size_t padded = (length + 3) & ~(size_t)3;
	if (crash->notes_length + padded > sizeof(crash->head.notes))
		return;
	memcpy(crash->head.notes + crash->notes_length, bytes, length);
	crash->notes_length += padded;
}

static void put_header(struct crash_buffer *crash, const char *owner, uint32_t type, size_t length)
{
	Elf64_Nhdr header = {.n_namesz = (uint32_t)strlen(owner) + 1, .n_descsz = (uint32_t)length, .n_type = type};
	put(crash, &header, sizeof(header));
	put(crash, owner, header.n_namesz);
}

static void put_note(struct crash_buffer *crash, const char *owner, uint32_t type, const void *bytes, size_t length)
{
	put_header(crash, owner, type, length);
	put(crash, bytes, length);
}

/* In the order of the kernel's struct user_regs_struct. */
static void copy_registers(elf_gregset_t to, const greg_t *from)
{
	static const int order[] = {REG_R15, REG_R14, REG_R13, REG_R12, REG_RBP, REG_RBX, REG_R11,
				    REG_R10, REG_R9,  REG_R8,  REG_RAX, REG_RCX, REG_RDX, REG_RSI,
				    REG_RDI, -1,      REG_RIP, -1,      REG_EFL, REG_RSP, -1};
	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		to[i] = order[i] < 0 ? 0 : (unsigned long)from[order[i]];
	to[15] = ~0UL; /* orig_rax: not in a system call */
	to[17] = (unsigned short)from[REG_CSGSFS];
	to[20] = (unsigned long)from[REG_CSGSFS] >> 48;
	rt_syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &to[21]);
	rt_syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &to[22]);
}

static void put_status(struct crash_buffer *crash, const siginfo_t *info, const ucontext_t *context)
{
	struct elf_prstatus status;
	memset(&status, 0, sizeof(status));
	status.pr_info.si_signo = info->si_signo;
	status.pr_info.si_code = info->si_code;
	status.pr_info.si_errno = info->si_errno;
	status.pr_cursig = (short)info->si_signo;
	memcpy(&status.pr_sighold, &context->uc_sigmask, sizeof(status.pr_sighold));
	status.pr_pid = rt_sys_gettid();
	copy_registers(status.pr_reg, context->uc_mcontext.gregs);
	put_note(crash, "CORE", NT_PRSTATUS, &status, sizeof(status));
}

static void put_own_note(struct engine *engine)
{
	struct crash_buffer *crash = engine->crash;
	struct timespec now = {0, 0};
	struct crash_note note;
	memset(&note, 0, sizeof(note));
	rt_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	note.realtime_ns = now.tv_sec * 1000000000L + now.tv_nsec;
	note.owner_start = engine->owner_start;
	note.pid = rt_root.pid;
	note.truncated = crash->truncated;
	rt_syscall(SYS_prctl, PR_GET_NAME, note.thread_name, 0, 0, 0);
	put_note(crash, CRASH_NOTE_OWNER, CRASH_NOTE_TYPE, &note, sizeof(note));
}

static void put_files(struct crash_buffer *crash)
{
	uint64_t head[2] = {crash->file_count, RT_PAGE_SIZE};
	size_t entries = crash->file_count * sizeof(crash->files[0]);
	put_header(crash, "CORE", NT_FILE, sizeof(head) + entries + crash->names_length);
	put(crash, head, sizeof(head));
	put(crash, crash->files, entries);
	put(crash, crash->names, crash->names_length);
}

/* ---- the file ---- */

static bool write_at(int fd, const void *bytes, size_t length, uint64_t offset)
{
	return rt_sys_pwrite(fd, bytes, length, (off_t)offset) == (ssize_t)length;
}

static void make_durable(const struct engine *engine)
{
	if (engine->options.durability == STORE_DURABILITY_POWER)
		rt_syscall(SYS_fdatasync, engine->crash_fd);
}

static void write_record(const struct engine *engine)
{
	struct crash_buffer *crash = engine->crash;
	struct crash_head *head = &crash->head;
	uint64_t notes_at = offsetof(struct crash_head, notes), stack_at = notes_at + crash->notes_length;
	ssize_t stack_length = 0;
	if (rt_sys_ftruncate(engine->crash_fd, 0) < 0)
		return;
	if (crash->stack_end != 0)
		stack_length = rt_sys_pwrite(engine->crash_fd, (const void *)crash->stack_start,
					     crash->stack_end - crash->stack_start, (off_t)stack_at);
	head->header = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = offsetof(struct crash_head, segments),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = stack_length > 0 ? 2 : 1,
	};
	head->segments[0] =
		(Elf64_Phdr){.p_type = PT_NOTE, .p_offset = notes_at, .p_filesz = crash->notes_length, .p_align = 4};
	head->segments[1] = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_W,
		.p_offset = stack_at,
		.p_vaddr = crash->stack_start,
		.p_filesz = stack_length > 0 ? (uint64_t)stack_length : 0,
		.p_memsz = stack_length > 0 ? (uint64_t)stack_length : 0,
		.p_align = 1,
	};
	size_t behind = sizeof(head->header);
	if (!write_at(engine->crash_fd, (const char *)head + behind, stack_at - behind, behind))
		return;
	make_durable(engine);
	write_at(engine->crash_fd, head, behind, 0);
	make_durable(engine);
}

static void record_crash(struct engine *engine, const siginfo_t *info, const ucontext_t *context)
{
	struct crash_buffer *crash = engine->crash;
	note_mappings(engine, (uint64_t)context->uc_mcontext.gregs[REG_RSP]);
	put_status(crash, info, context);
	put_note(crash, "CORE", NT_SIGINFO, info, sizeof(*info));
	put_own_note(engine);
	size_t length;
	const void *auxv = rt_capture_auxv(engine, &length);
	put_note(crash, "CORE", NT_AUXV, auxv, length);
	put_files(crash);
	write_record(engine);
}

/* ---- the handler ---- */

/* Several threads may crash at once: the first one writes, and ends the process. */
static void record_once(struct engine *engine, const siginfo_t *info, const ucontext_t *context)
{
	uint32_t none = CRASH_NONE;
	if (__atomic_compare_exchange_n(&engine->crash_state, &none, CRASH_WRITING, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE)) {
		record_crash(engine, info, context);
		__atomic_store_n(&engine->crash_state, CRASH_WRITTEN, __ATOMIC_RELEASE);
		rt_syscall(SYS_futex, &engine->crash_state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
		return;
	}
	struct timespec patience = {WAIT_FOR_RECORD_S, 0};
	if (none == CRASH_WRITING)
		rt_syscall(SYS_futex, &engine->crash_state, FUTEX_WAIT_PRIVATE, CRASH_WRITING, &patience, NULL, 0);
}

/* The signal comes again as the handler returns, and nothing catches it: the registers of a core file
 * are those of the crash. */
static void raise_again(int signal, siginfo_t *info, ucontext_t *context)
{
	int pid = rt_sys_getpid(), tid = rt_sys_gettid();
	set_default(signal);
	uint64_t mask;
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	mask &= ~(1UL << (signal - 1));
	memcpy(&context->uc_sigmask, &mask, sizeof(mask));
	if (rt_syscall(SYS_rt_tgsigqueueinfo, pid, tid, signal, info) < 0)
		rt_sys_tgkill(pid, tid, signal);
}

void rt_crash_handle(int signal, siginfo_t *info, void *context)
{
	if (signal == SIGBUS && rt_bus_take(info, context))
		return;
	/* While an exec is under way or the process has ended, there is nothing to come back to. */
	if (rt_is_protected() && !__atomic_load_n(&rt_root.engine->stop, __ATOMIC_ACQUIRE))
		record_once(rt_root.engine, info, context);
	raise_again(signal, info, context);
}
