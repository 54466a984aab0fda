/* Capturing what the kernel keeps for the process and its threads: the manifest. In the stop. */
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "arch/x86_64/processor.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "base/uapi.h"
#include "engine.h"
#include "files/undo.h"
#include "life/crash.h"
#include "life/resume.h"
#include "life/start.h"
#include "threads/handler.h"
#include "threads/thread.h"

#define MAX_AUXV 1024
#define PATH_SIZE 4096
#define LAST_SIGNAL 64

/* What never changes after exec. */
struct process_facts {
	struct manifest_process process; /* mm boundaries only */
	struct manifest_processor processor;
	char auxv[MAX_AUXV];
	size_t auxv_length;
	char executable[PATH_SIZE];
	struct stat executable_status;
};

static ssize_t read_whole(const char *path, char *buffer, size_t size)
{
	int fd = rt_sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	ssize_t length = 0, got;
	while ((size_t)length < size && (got = rt_sys_read(fd, buffer + length, size - (size_t)length)) > 0)
		length += got;
	rt_sys_close(fd);
	return length;
}

/* Decimal fields of /proc/self/stat from field 3 on; fields[n] is field n. */
static void parse_stat(const char *text, uint64_t *fields, int last)
{
	const char *at = strrchr(text, ')');
	int field = 3;
	for (at = at ? at + 2 : ""; *at && field <= last; field++) {
		uint64_t value = 0;
		for (; *at && *at != ' '; at++)
			if (*at >= '0' && *at <= '9')
				value = value * 10 + (uint64_t)(*at - '0');
		fields[field] = value;
		if (*at)
			at++;
	}
}

/* One field of /proc/self/stat, numbered as in proc(5); 0 when it cannot be read. */
static uint64_t read_stat_field(int field)
{
	char text[2048];
	uint64_t fields[64] = {0};
	ssize_t length = read_whole("/proc/self/stat", text, sizeof(text) - 1);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	parse_stat(text, fields, field);
	return fields[field];
}

uint64_t rt_process_start_time(void)
{
	return read_stat_field(22);
}

int rt_main_thread_status(void)
{
	return (int)read_stat_field(52);
}

static int read_boundaries(struct manifest_process *process)
{
	char text[2048];
	uint64_t fields[64] = {0};
	ssize_t length = read_whole("/proc/self/stat", text, sizeof(text) - 1);
	if (length <= 0)
		return length ? (int)length : -EIO;
	text[length] = '\0';
	parse_stat(text, fields, 51); /* numbers as in proc(5) */
	process->start_code = fields[26];
	process->end_code = fields[27];
	process->start_stack = fields[28];
	process->start_data = fields[45];
	process->end_data = fields[46];
	process->start_brk = fields[47];
	process->arg_start = fields[48];
	process->arg_end = fields[49];
	process->env_start = fields[50];
	process->env_end = fields[51];
	return 0;
}

int rt_capture_facts(struct engine *engine)
{
	if (engine->facts == NULL)
		engine->facts = rt_memory_map(sizeof(*engine->facts));
	struct process_facts *facts = engine->facts;
	if (facts == NULL)
		return -ENOMEM;
	rt_arch_read_processor(&facts->processor);
	int result = read_boundaries(&facts->process);
	if (result < 0)
		return result;
	ssize_t length = read_whole("/proc/self/auxv", facts->auxv, sizeof(facts->auxv));
	if (length < 0)
		return (int)length;
	facts->auxv_length = (size_t)length;
	length = rt_syscall(SYS_readlink, "/proc/self/exe", facts->executable, PATH_SIZE - 1);
	if (length < 0)
		return (int)length;
	facts->executable[length] = '\0';
	rt_syscall(SYS_stat, facts->executable, &facts->executable_status);
	return 0;
}

const void *rt_capture_auxv(const struct engine *engine, size_t *length)
{
	*length = engine->facts->auxv_length;
	return engine->facts->auxv;
}

static void write_special_regions(const struct engine *engine, struct manifest_process *process)
{
	for (size_t i = 0; i < engine->regions.count; i++) {
		const struct region *region = &engine->regions.entries[i];
		if (region->kind != REGION_SPECIAL)
			continue;
		if (strcmp(rt_region_name(&engine->regions, region), "[vdso]") == 0) {
			process->vdso_start = region->start;
			process->vdso_end = region->end;
		} else {
			if (process->vvar_start == 0)
				process->vvar_start = region->start;
			process->vvar_end = region->end;
		}
	}
}

static int64_t clock_ns(int clock)
{
	struct timespec now;
	rt_syscall(SYS_clock_gettime, clock, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Of signals that are restored with all they carry, the number is not wanted again. */
static uint64_t numbers_only(const struct engine *engine, uint64_t pending)
{
	return pending & ~engine->takeable_signals & ~engine->timer_signals;
}

static int32_t read_oom_score_adjustment(const struct engine *engine)
{
	char text[16] = "";
	if (engine->oom_fd < 0 || rt_sys_pread(engine->oom_fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	int32_t value = 0;
	for (const char *at = text + (text[0] == '-'); *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (*at - '0');
	return text[0] == '-' ? -value : value;
}

/* What the process has registered for. Before Linux 6.3 only the attempt tells, and of the global one not even that. */
static uint32_t memory_barriers(void)
{
	static const struct {
		int use, enter;
	} commands[] = {
		{MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
		{MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
		{MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ},
	};
	long known = rt_syscall(SYS_membarrier, MEMBARRIER_GET_REGISTRATIONS, 0, 0);
	if (known >= 0)
		return (uint32_t)known;
	uint32_t found = 0;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (rt_syscall(SYS_membarrier, commands[i].use, 0, 0) == 0)
			found |= (uint32_t)commands[i].enter;
	return found;
}

static void write_process(struct engine *engine, struct manifest_writer *writer)
{
	struct manifest_process process = engine->facts->process;
	process.realtime_ns = clock_ns(CLOCK_REALTIME);
	process.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
	process.boottime_ns = clock_ns(CLOCK_BOOTTIME);
	process.root_address = (uint64_t)&rt_root;
	process.resume_entry = (uint64_t)rt_resume;
	process.pid = rt_root.pid;
	process.parent = (int)rt_syscall(SYS_getppid);
	rt_credentials_write(engine, &process);
	process.umask = (uint32_t)rt_syscall(SYS_umask, 0);
	rt_syscall(SYS_umask, process.umask);
	process.thread_count = (uint32_t)engine->thread_count;
	process.dumpable = (uint32_t)rt_syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
	process.process_group = (int32_t)rt_syscall(SYS_getpgid, 0);
	process.session = (int32_t)rt_syscall(SYS_getsid, 0);
	process.personality = (uint32_t)rt_syscall(SYS_personality, 0xffffffff);
	rt_syscall(SYS_prctl, PR_GET_CHILD_SUBREAPER, &process.child_subreaper, 0, 0, 0);
	process.no_huge_pages = rt_syscall(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1;
	process.memory_barriers = memory_barriers();
	process.oom_score_adjustment = read_oom_score_adjustment(engine);
	process.pending = numbers_only(engine, engine->process_pending);
	process.brk = (uint64_t)rt_syscall(SYS_brk, 0);
	write_special_regions(engine, &process);
	rt_manifest_add(writer, MANIFEST_PROCESS, &process, sizeof(process));
}

static void write_path(struct manifest_writer *writer, enum path_role role, const char *path, const struct stat *status)
{
	struct manifest_path record = {.role = (uint32_t)role, .length = (uint32_t)strlen(path) + 1};
	if (status != NULL) {
		record.size = (uint64_t)status->st_size;
		record.mtime_ns = status->st_mtim.tv_sec * 1000000000L + status->st_mtim.tv_nsec;
		record.inode = status->st_ino;
	}
	rt_manifest_begin(writer, MANIFEST_PATH);
	rt_manifest_put(writer, &record, sizeof(record));
	rt_manifest_put(writer, path, record.length);
	rt_manifest_end(writer);
}

/* The working directory has no name any more: the one it had. */
static void write_removed_directory(struct manifest_writer *writer)
{
	static const char mark[] = " (deleted)";
	char path[PATH_SIZE];
	size_t tail = sizeof(mark) - 1;
	long length = rt_syscall(SYS_readlink, "/proc/thread-self/cwd", path, sizeof(path) - 1);
	size_t end = length > 0 ? (size_t)length : 0;
	if (end > tail && memcmp(path + end - tail, mark, tail) == 0)
		end -= tail;
	path[end] = '\0';
	write_path(writer, PATH_CWD_DELETED, end > 0 && path[0] == '/' ? path : "/tmp", NULL);
}

static void write_paths(struct engine *engine, struct manifest_writer *writer)
{
	char cwd[PATH_SIZE];
	long length = rt_syscall(SYS_getcwd, cwd, sizeof(cwd));
	if (length > 0)
		write_path(writer, PATH_CWD, cwd, NULL);
	else
		write_removed_directory(writer);
	write_path(writer, PATH_EXECUTABLE, engine->facts->executable, &engine->facts->executable_status);
}

/* Whether a mapping behind this one is of the same segment. */
static bool is_written_segment(const struct region_table *regions, uint32_t index)
{
	const struct region *region = &regions->entries[index - 1];
	for (uint32_t other = regions->last_shared; other != index; other = regions->entries[other - 1].last_shared)
		if (regions->entries[other - 1].inode == region->inode && regions->entries[other - 1].tracked &&
		    rt_region_device(&regions->entries[other - 1]) == rt_region_device(region))
			return true;
	return false;
}

/* System V segments that are attached: their identifier is the inode. */
static void write_segments(struct engine *engine, struct manifest_writer *writer)
{
	const struct region_table *regions = &engine->regions;
	for (uint32_t index = regions->last_shared; index != 0; index = regions->entries[index - 1].last_shared) {
		const struct region *region = &regions->entries[index - 1];
		struct shmid_ds status;
		if (!region->tracked || strncmp(rt_region_name(regions, region), "/SYSV", 5) != 0 ||
		    is_written_segment(regions, index) || rt_syscall(SYS_shmctl, region->inode, IPC_STAT, &status) < 0)
			continue;
		struct manifest_segment record = {
			.device = rt_region_device(region),
			.inode = region->inode,
			.size = status.shm_segsz,
			.id = (int32_t)region->inode,
			.key = status.shm_perm.__key,
			.mode = status.shm_perm.mode,
			.creator = status.shm_cpid,
		};
		rt_manifest_add(writer, MANIFEST_SEGMENT, &record, sizeof(record));
	}
}

static void write_signals(struct manifest_writer *writer)
{
	for (uint32_t number = 1; number <= LAST_SIGNAL; number++) {
		struct rt_kernel_sigaction action = {0};
		if (rt_syscall(SYS_rt_sigaction, number, NULL, &action, sizeof(uint64_t)) < 0)
			continue;
		if ((action.handler == (void *)SIG_DFL && action.flags == 0) || action.handler == rt_crash_handle)
			continue;
		/* What is written is what the restored process gets. */
		rt_handler_adopt((int)number, &action);
		struct manifest_signal record = {
			.number = number,
			.handler = (uint64_t)action.handler,
			.flags = action.flags,
			.restorer = (uint64_t)action.restorer,
			.mask = action.mask,
		};
		rt_manifest_add(writer, MANIFEST_SIGNAL, &record, sizeof(record));
	}
}

static void write_limits(struct manifest_writer *writer)
{
	for (uint32_t resource = 0; resource < RLIM_NLIMITS; resource++) {
		struct rlimit limit;
		if (rt_syscall(SYS_prlimit64, 0, resource, NULL, &limit) < 0)
			continue;
		struct manifest_limit record = {.resource = resource, .soft = limit.rlim_cur, .hard = limit.rlim_max};
		/* What the runtime has mapped is on top of the program's (memory.c), and is another time. */
		if ((resource == RLIMIT_AS || resource == RLIMIT_DATA) && limit.rlim_cur < limit.rlim_max &&
		    limit.rlim_cur > rt_memory_used())
			record.soft -= rt_memory_used();
		rt_manifest_add(writer, MANIFEST_LIMIT, &record, sizeof(record));
	}
}

static void write_thread(struct engine *engine, const struct stopped_thread *thread, struct manifest_writer *writer)
{
	struct manifest_thread out = {.tid = thread->tid, .exited = thread->exited};
	struct sched_param parameters = {0};
	rt_syscall(SYS_sched_getaffinity, thread->tid, sizeof(out.affinity), out.affinity);
	out.policy = (uint32_t)rt_syscall(SYS_sched_getscheduler, thread->tid);
	rt_syscall(SYS_sched_getparam, thread->tid, &parameters);
	out.priority = parameters.sched_priority;
	out.io_priority = (int32_t)rt_syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, thread->tid);
	out.nice = 20 - (int)rt_syscall(SYS_getpriority, PRIO_PROCESS, thread->tid); /* the raw call's scale */
	if (!thread->exited) {
		const struct rt_thread *record = thread->record;
		out.pending = numbers_only(engine, thread->pending);
		out.context = record->context;
		out.tls_base = record->tls_base;
		out.gs_base = record->gs_base;
		out.timer_slack = record->timer_slack;
		out.clear_child_tid = record->clear_child_tid;
		out.robust_list = record->robust_list;
		out.robust_list_length = record->robust_list_length;
		out.rseq_address = record->rseq_address;
		out.rseq_length = record->rseq_length;
		out.rseq_signature = RT_RSEQ_SIGNATURE;
		out.alternate_stack_start = (uint64_t)record->alternate_stack.ss_sp;
		out.alternate_stack_size = record->alternate_stack.ss_size;
		out.alternate_stack_flags = (uint32_t)record->alternate_stack.ss_flags;
		memcpy(out.name, record->name, sizeof(out.name));
	}
	rt_manifest_add(writer, MANIFEST_THREAD, &out, sizeof(out));
}

static void write_threads(struct engine *engine, struct manifest_writer *writer)
{
	for (int i = 0; i < engine->thread_count; i++)
		if (engine->threads[i].tid == rt_root.pid)
			write_thread(engine, &engine->threads[i], writer);
	for (int i = 0; i < engine->thread_count; i++)
		if (engine->threads[i].tid != rt_root.pid)
			write_thread(engine, &engine->threads[i], writer);
}

int rt_capture_process(struct engine *engine)
{
	struct manifest_writer *writer = &engine->manifest;
	rt_manifest_reset(writer);
	write_process(engine, writer);
	write_paths(engine, writer);
	rt_manifest_add(writer, MANIFEST_AUXV, engine->facts->auxv, engine->facts->auxv_length);
	rt_manifest_add(writer, MANIFEST_PROCESSOR, &engine->facts->processor, sizeof(engine->facts->processor));
	rt_regions_write(&engine->regions, writer);
	write_segments(engine, writer);
	rt_capture_write_advice(engine, writer);
	write_threads(engine, writer);
	write_signals(writer);
	rt_write_signals_pending(engine, writer);
	write_limits(writer);
	rt_credentials_write_groups(engine, writer);
	rt_undo_capture(engine, writer);
	rt_capture_shared_files(engine, writer);
	int result = rt_capture_timers(engine, writer);
	if (result == 0)
		result = rt_capture_children(engine, writer);
	if (result == 0)
		result = rt_descriptors_capture(engine->descriptors, writer);
	return result < 0 ? result : writer->failed ? -ENOMEM : 0;
}
