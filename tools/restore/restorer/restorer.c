/*
 * The restorer: rebuilds a process inside the address space it runs in.
 *
 * Freestanding: it is linked into one flat piece of code, copied to an address that no image
 * uses, and runs when everything else is unmapped. No libc, no TLS, no global data; only raw
 * system calls. From the first munmap() on, an error can only end the process: the store still
 * has the checkpoint, and the tool checked beforehand whatever it could.
 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

#include "base/sys.h"
#include "layout.h"
#include "plan.h"
#include "threads/thread.h"

#define SIGNAL_COUNT 64
#define GUARD_INSTALL 102              /* MADV_GUARD_INSTALL, Linux 6.13 */
#define PR_TIMER_CREATE_RESTORE_IDS 77 /* Linux 6.15 */
#define EXIT_TOOL_FAILED 125

long restorer_clone(struct clone_args *arguments, size_t size, void (*entry)(struct plan_thread *),
		    struct plan_thread *thread);
__attribute__((noreturn)) void restorer_enter(uint64_t context);
__attribute__((noreturn)) void restorer_main(struct plan *plan);
void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memset(void *to, int value, size_t length);

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
	return start;
}

void *memset(void *to, int value, size_t length)
{
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
	return start;
}

/* ---- the one line when it fails ---- */

static size_t length_of(const char *text)
{
	size_t length = 0;
	while (text[length] != '\0')
		length++;
	return length;
}

static void print(const char *text)
{
	rt_sys_write(*PLAN_MESSAGE_FD, text, length_of(text));
}

static void print_number(uint64_t value, unsigned base)
{
	char digits[24];
	int at = sizeof(digits);
	do {
		unsigned digit = (unsigned)(value % base);
		digits[--at] = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
		value /= base;
	} while (value != 0);
	rt_sys_write(*PLAN_MESSAGE_FD, digits + at, sizeof(digits) - (size_t)at);
}

__attribute__((noreturn)) static void fail(const char *step, uint64_t address, long error)
{
	print("respct-restore: cannot rebuild the process: ");
	print(step);
	if (address != 0) {
		print(" at 0x");
		print_number(address, 16);
	}
	print(": error ");
	print_number((uint64_t)-error, 10);
	print("\n");
	for (;;)
		rt_syscall(SYS_exit_group, EXIT_TOOL_FAILED);
}

static void reach(struct plan *plan, enum rt_fail_point point)
{
	int result = rt_fail_reach(&plan->resume.fail, point, FAIL_REFUSES);
	if (result < 0)
		fail("a fail point", 0, result);
}

/* ---- memory ---- */

static void unmap(uint64_t start, uint64_t end)
{
	if (start < end)
		rt_sys_munmap((void *)start, end - start);
}

/* Everything goes but the restorer itself and the kernel's own mappings. */
static void clear_address_space(const struct plan *plan)
{
	uint64_t at = plan->block_end;
	unmap(0, RT_RESTORER_BASE);
	for (uint32_t i = 0; i < plan->special_count; i++) {
		unmap(at, plan->special[i].start);
		at = plan->special[i].start + plan->special[i].length;
	}
	unmap(at, plan->kernel_end);
}

/* By way of a place of our own, as source and target may overlap. */
static void move_special(const struct plan *plan)
{
	uint64_t halfway = plan->block_end + (1UL << 30);
	for (int pass = 0; pass < 2; pass++) {
		uint64_t between = halfway;
		for (uint32_t i = 0; i < plan->special_count; i++) {
			const struct plan_special *special = &plan->special[i];
			uint64_t from = pass == 0 ? special->start : between;
			uint64_t to = pass == 0 ? between : special->target;
			long moved = rt_syscall(SYS_mremap, from, special->length, special->length,
						MREMAP_MAYMOVE | MREMAP_FIXED, to);
			if ((uint64_t)moved != to)
				fail("moving the kernel's own mappings", to, moved);
			between += special->length;
		}
	}
}

/*
 * Attaches a System V segment for one region, and those that follow it, by way of a free place: all of
 * a segment is attached, of which the program may have unmapped parts.
 */
static void attach_segment(const struct plan *plan, const struct plan_region *region)
{
	uint64_t between = RT_PAGE_ALIGN_UP(plan->block_end) + (1UL << 30);
	uint64_t length = region->segment_end - region->start;
	long at = rt_syscall(SYS_shmat, region->segment, between, 0);
	if (at == -EACCES)
		at = rt_syscall(SYS_shmat, region->segment, between, SHM_RDONLY);
	if ((uint64_t)at != between)
		fail("attaching shared memory", region->start, at);
	long moved = rt_syscall(SYS_mremap, between + region->offset, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
				region->start);
	if ((uint64_t)moved != region->start)
		fail("attaching shared memory", region->start, moved);
	unmap(between, RT_RESTORER_END);
	long result = rt_syscall(SYS_mprotect, region->start, region->end - region->start, region->prot);
	if (result < 0)
		fail("protecting shared memory", region->start, result);
}

/* Once it is mapped everywhere: memory that is to be removed with the last mapping, or sealed. */
static void finish_shared_memory(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (region->segment >= 0 && region->remove_segment)
			rt_syscall(SYS_shmctl, region->segment, IPC_RMID, NULL);
		long result = region->attached ? rt_syscall(SYS_mprotect, region->start, region->end - region->start,
							    region->prot)
					       : 0;
		if (result < 0)
			fail("protecting shared memory", region->start, result);
	}
	for (uint32_t i = 0; i < plan->seal_count; i++)
		rt_syscall(SYS_fcntl, plan->seals[i].fd, F_ADD_SEALS, plan->seals[i].seals);
}

static void map_regions(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (region->segment >= 0) {
			if (!region->attached)
				attach_segment(plan, region);
			continue;
		}
		int prot = region->load ? PROT_READ | PROT_WRITE : (int)region->prot;
		void *mapped = rt_sys_mmap((void *)region->start, region->end - region->start, prot,
					   region->flags | MAP_FIXED_NOREPLACE, region->fd, (off_t)region->offset);
		if (mapped != (void *)region->start && (region->flags & MAP_HUGETLB)) {
			print("respct-restore: too few huge pages: memory that was in such is in ordinary ones now\n");
			mapped = rt_sys_mmap((void *)region->start, region->end - region->start, prot,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		}
		if (mapped != (void *)region->start)
			fail("mapping memory", region->start, (long)mapped);
	}
}

static void load_pages(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->load_count; i++) {
		const struct plan_load *load = &plan->loads[i];
		reach(plan, RT_FAIL_RESTORER_LOAD);
		for (uint64_t done = 0; done < load->length;) {
			ssize_t got = rt_sys_pread(load->fd, (void *)(load->address + done), load->length - done,
						   (off_t)(load->offset + done));
			if (got <= 0)
				fail("loading memory", load->address + done, got ? got : -EIO);
			done += (uint64_t)got;
		}
	}
}

static void patch_memory(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->patch_count; i++)
		memcpy((void *)plan->patches[i].address, plan->patches[i].bytes, plan->patches[i].length);
}

static void protect_regions(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (!region->load || region->prot == (PROT_READ | PROT_WRITE))
			continue;
		long result = rt_syscall(SYS_mprotect, region->start, region->end - region->start, region->prot);
		if (result < 0)
			fail("protecting memory", region->start, result);
	}
}

/* Advice that a kernel does not know, or has no use for, does no harm when it is missing. */
static void advise(const struct plan *plan)
{
	static const struct {
		uint32_t flag;
		int advice;
	} kinds[] = {
		{ADVICE_DONTFORK, MADV_DONTFORK},     {ADVICE_WIPEONFORK, MADV_WIPEONFORK},
		{ADVICE_DONTDUMP, MADV_DONTDUMP},     {ADVICE_MERGEABLE, MADV_MERGEABLE},
		{ADVICE_HUGEPAGE, MADV_HUGEPAGE},     {ADVICE_NOHUGEPAGE, MADV_NOHUGEPAGE},
		{ADVICE_SEQUENTIAL, MADV_SEQUENTIAL}, {ADVICE_RANDOM, MADV_RANDOM},
	};
	bool unlocked = false;
	for (uint32_t i = 0; i < plan->advice_count; i++) {
		const struct manifest_advice *advice = &plan->advice[i];
		uint64_t length = advice->end - advice->start;
		for (unsigned j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++)
			if (advice->flags & kinds[j].flag)
				rt_syscall(SYS_madvise, advice->start, length, kinds[j].advice);
		if (advice->flags & ADVICE_LOCKED)
			unlocked |= rt_syscall(SYS_mlock2, advice->start, length,
					       advice->flags & ADVICE_LOCKED_ON_FAULT ? MLOCK_ONFAULT : 0) < 0;
		long result = advice->flags & ADVICE_GUARD
				      ? rt_syscall(SYS_madvise, advice->start, length, GUARD_INSTALL)
				      : 0;
		if (result < 0)
			fail("installing a guard region (Linux 6.13)", advice->start, result);
	}
	if (unlocked)
		print("respct-restore: memory that was locked is not: the limit (ulimit -l) is too low\n");
}

/* brk, argument and environment borders, /proc/self/exe. */
static void set_mm_map(struct plan *plan)
{
	long result = rt_syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &plan->mm_map, sizeof(plan->mm_map), 0);
	if (result < 0 && plan->mm_map.exe_fd != (uint32_t)-1) {
		/* /proc/self/exe needs a privilege; the borders do not. */
		plan->mm_map.exe_fd = (uint32_t)-1;
		result = rt_syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &plan->mm_map, sizeof(plan->mm_map), 0);
	}
	if (result < 0)
		fail("setting the heap's borders", plan->mm_map.start_brk, result);
}

/* ---- process ---- */

static void set_signals(const struct plan *plan)
{
	struct rt_kernel_sigaction fresh = {.handler = (void *)SIG_DFL};
	for (int number = 1; number <= SIGNAL_COUNT; number++)
		rt_syscall(SYS_rt_sigaction, number, &fresh, NULL, sizeof(uint64_t));
	for (uint32_t i = 0; i < plan->signal_count; i++) {
		const struct manifest_signal *signal = &plan->signals[i];
		struct rt_kernel_sigaction action = {
			.handler = (void (*)(int, siginfo_t *, void *))signal->handler,
			.flags = signal->flags,
			.restorer = (void (*)(void))signal->restorer,
			.mask = signal->mask,
		};
		rt_syscall(SYS_rt_sigaction, signal->number, &action, NULL, sizeof(uint64_t));
	}
}

static bool limits_memory(const struct manifest_limit *limit)
{
	return limit->resource == RLIMIT_AS || limit->resource == RLIMIT_DATA;
}

/* A limit that may not be raised again stays as it is; one that may not be lowered does not exist. */
static void set_limit(const struct manifest_limit *limit, uint64_t room)
{
	struct rlimit wanted = {limit->soft, limit->hard};
	if (wanted.rlim_cur < wanted.rlim_max)
		wanted.rlim_cur = wanted.rlim_max - wanted.rlim_cur > room ? wanted.rlim_cur + room : wanted.rlim_max;
	rt_syscall(SYS_prlimit64, 0, limit->resource, &wanted, NULL);
}

/*
 * Soft limits of memory go up with what the runtime maps when it starts, so they come before that;
 * those that cannot, after it. The restorer is still there and counts.
 */
static void set_limits(const struct plan *plan, bool started)
{
	for (uint32_t i = 0; i < plan->limit_count; i++) {
		const struct manifest_limit *limit = &plan->limits[i];
		bool after = limits_memory(limit) && limit->soft == limit->hard;
		if (after == started)
			set_limit(limit, limits_memory(limit) ? plan->block_end - RT_RESTORER_BASE : 0);
	}
}

static void set_timers(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->timer_count; i++) {
		const struct manifest_timer *timer = &plan->timers[i];
		struct itimerval value = {
			{timer->interval_us / 1000000, timer->interval_us % 1000000},
			{timer->value_us / 1000000, timer->value_us % 1000000},
		};
		rt_syscall(SYS_setitimer, timer->which, &value, NULL);
	}
}

/*
 * Creates a timer under its old number: at once where the kernel can (Linux 6.15), else by creating
 * timers until the number comes up, which it does in ascending order: so do the timers of the plan.
 */
static void make_posix_timer(const struct manifest_posix_timer *timer)
{
	struct sigevent event = {
		.sigev_value.sival_ptr = (void *)timer->value,
		.sigev_signo = timer->signal,
		.sigev_notify = timer->notify,
		._sigev_un._tid = timer->target,
	};
	int id = timer->id;
	for (int tries = 0; tries <= timer->id + 1; tries++) {
		id = timer->id;
		long result = rt_syscall(SYS_timer_create, timer->clock, &event, &id);
		if (result < 0)
			fail("creating timer", (uint64_t)timer->id, result);
		if (id >= timer->id)
			break;
		rt_syscall(SYS_timer_delete, id);
	}
	if (id != timer->id)
		fail("creating a timer with its old number", (uint64_t)timer->id, -EEXIST);
}

static int64_t monotonic_ns(void)
{
	struct timespec now;
	rt_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Starts a timer that had `value_ns` left some time ago. */
static void start_posix_timer(const struct manifest_posix_timer *timer, int64_t ago_ns)
{
	bool cpu_time =
		timer->clock < 0 || timer->clock == CLOCK_PROCESS_CPUTIME_ID || timer->clock == CLOCK_THREAD_CPUTIME_ID;
	int64_t left = cpu_time ? timer->value_ns : timer->value_ns - ago_ns;
	/* Expired, and its signal is lost with the process: it comes at once. */
	if (left <= 0 && (timer->value_ns != 0 || timer->interval_ns != 0))
		left = 1;
	struct itimerspec setting = {
		.it_value = {left / 1000000000, left % 1000000000},
		.it_interval = {timer->interval_ns / 1000000000, timer->interval_ns % 1000000000},
	};
	rt_syscall(SYS_timer_settime, timer->id, 0, &setting, NULL);
}

static bool expires_before(const struct manifest_posix_timer *one, const struct manifest_posix_timer *other)
{
	return one->value_ns < other->value_ns || (one->value_ns == other->value_ns && one < other);
}

/* The timer that expires next after `last` (NULL: first of all), NULL: none. */
static const struct manifest_posix_timer *next_expiry(const struct plan *plan, const struct manifest_posix_timer *last)
{
	const struct manifest_posix_timer *next = NULL;
	for (uint32_t i = 0; i < plan->posix_timer_count; i++) {
		const struct manifest_posix_timer *timer = &plan->posix_timers[i];
		if ((last == NULL || expires_before(last, timer)) && (next == NULL || expires_before(timer, next)))
			next = timer;
	}
	return next;
}

/* In the order in which they expire, so that a delay in between leaves it as it is. */
static void start_posix_timers(const struct plan *plan)
{
	int64_t begin = monotonic_ns();
	const struct manifest_posix_timer *timer = NULL;
	while ((timer = next_expiry(plan, timer)) != NULL)
		start_posix_timer(timer, monotonic_ns() - begin);
}

static void make_posix_timers(const struct plan *plan)
{
	if (plan->posix_timer_count == 0)
		return;
	rt_syscall(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0);
	for (uint32_t i = 0; i < plan->posix_timer_count; i++)
		make_posix_timer(&plan->posix_timers[i]);
	rt_syscall(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
	start_posix_timers(plan);
}

/* All threads still block all signals, so they stay pending. */
static void make_signals_pending(const struct plan *plan)
{
	int pid = rt_sys_getpid();
	for (int number = 1; number <= SIGNAL_COUNT; number++) {
		uint64_t bit = 1UL << (number - 1);
		if (plan->process.pending & bit)
			rt_syscall(SYS_kill, pid, number);
		for (uint32_t i = 0; i < plan->thread_count; i++)
			if (plan->threads[i].state.pending & bit)
				rt_sys_tgkill(pid, plan->threads[i].state.tid, number);
	}
	for (uint32_t i = 0; i < plan->queued_signal_count; i++) {
		const struct manifest_queued_signal *queued = &plan->queued_signals[i];
		if (queued->tid == 0)
			rt_syscall(SYS_rt_sigqueueinfo, pid, queued->number, queued->info);
		else if (rt_syscall(SYS_rt_tgsigqueueinfo, pid, queued->tid, queued->number, queued->info) < 0)
			rt_sys_tgkill(pid, queued->tid, queued->number); /* as it was sent, by this process */
	}
}

/* The tool's own descriptors end here. The lock stays, it belongs to the runtime now; so does, for now, the way to
 * say what goes wrong. */
static void close_own_descriptors(const struct plan *plan)
{
	unsigned first = (unsigned)plan->first_own_fd, lock = (unsigned)plan->resume.lock_fd;
	unsigned other = *PLAN_MESSAGE_FD >= plan->first_own_fd ? (unsigned)*PLAN_MESSAGE_FD : lock;
	unsigned low = lock < other ? lock : other, high = lock < other ? other : lock;
	if (low > first)
		rt_syscall(SYS_close_range, first, low - 1, 0);
	if (high > low + 1)
		rt_syscall(SYS_close_range, low + 1, high - 1, 0);
	rt_syscall(SYS_close_range, high + 1, ~0U, 0);
}

static void close_message_descriptor(const struct plan *plan)
{
	int fd = *PLAN_MESSAGE_FD;
	*PLAN_MESSAGE_FD = 2;
	if (fd >= plan->first_own_fd)
		rt_sys_close(fd);
}

/* ---- threads ---- */

static void set_thread_state(const struct manifest_thread *state)
{
	stack_t alternate = {
		.ss_sp = (void *)state->alternate_stack_start,
		.ss_flags = (int)(state->alternate_stack_flags & ~(uint32_t)SS_ONSTACK),
		.ss_size = state->alternate_stack_size,
	};
	int priority = state->priority; /* the kernel's struct sched_param */
	rt_syscall(SYS_prctl, PR_SET_NAME, state->name, 0, 0, 0);
	rt_syscall(SYS_sigaltstack, &alternate, NULL);
	rt_syscall(SYS_set_tid_address, state->clear_child_tid);
	if (state->robust_list_length != 0)
		rt_syscall(SYS_set_robust_list, state->robust_list, state->robust_list_length);
	if (state->rseq_address != 0)
		rt_syscall(SYS_rseq, state->rseq_address, state->rseq_length, 0, state->rseq_signature);
	if (state->gs_base != 0)
		rt_syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, state->gs_base);
	rt_syscall(SYS_sched_setaffinity, 0, sizeof(state->affinity), state->affinity);
	rt_syscall(SYS_sched_setscheduler, 0, state->policy, &priority);
	rt_syscall(SYS_setpriority, PRIO_PROCESS, 0, state->nice);
	if (state->io_priority >= 0)
		rt_syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, state->io_priority);
	if (state->timer_slack != 0)
		rt_syscall(SYS_prctl, PR_SET_TIMERSLACK, state->timer_slack, 0, 0, 0);
}

/* ---- credentials: the thread's own; the privileges of the restore end with them ---- */

struct capability_header {
	uint32_t version;
	int tid;
};

#define CAPABILITY_HEADER                                       \
	{                                                       \
		0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0 \
	}

static void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct capability_header header = CAPABILITY_HEADER;
	uint32_t sets[6] = {
		(uint32_t)effective,         (uint32_t)permitted,         (uint32_t)inheritable,
		(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32),
	};
	rt_syscall(SYS_capset, &header, sets);
}

static uint64_t permitted_capabilities(void)
{
	struct capability_header header = CAPABILITY_HEADER;
	uint32_t sets[6] = {0, 0, 0, 0, 0, 0};
	rt_syscall(SYS_capget, &header, sets);
	return sets[1] | (uint64_t)sets[4] << 32;
}

static void take_user(const struct plan *plan)
{
	const struct manifest_process *process = &plan->process;
	rt_syscall(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
	/* A root that may not set its groups has those it had; nobody else may keep them. */
	long result = rt_syscall(SYS_setgroups, plan->group_count, plan->groups);
	if (result == -EPERM && process->uid[1] == 0)
		result = 0;
	if (result == 0)
		result = rt_syscall(SYS_setresgid, process->gid[0], process->gid[1], process->gid[2]);
	if (result == 0)
		result = rt_syscall(SYS_setresuid, process->uid[0], process->uid[1], process->uid[2]);
	if (result < 0)
		fail("taking the program's user", 0, result);
	rt_syscall(SYS_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
}

/* What we do not have, the process cannot get; what it did not have, it must not get. */
static void take_capabilities(const struct manifest_process *process)
{
	uint64_t all = permitted_capabilities();
	set_capabilities(all, all, 0);
	for (unsigned long number = 0; number < 64; number++)
		if (!(process->bounding >> number & 1) && rt_syscall(SYS_prctl, PR_CAPBSET_READ, number, 0, 0, 0) == 1)
			rt_syscall(SYS_prctl, PR_CAPBSET_DROP, number, 0, 0, 0);
	rt_syscall(SYS_prctl, PR_SET_SECUREBITS, process->secure_bits, 0, 0, 0);
	set_capabilities(process->effective & all, process->permitted & all, process->inheritable & all);
	for (unsigned long number = 0; number < 64; number++)
		if (process->ambient >> number & 1)
			rt_syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0);
}

static void take_credentials(const struct plan *plan)
{
	const struct manifest_process *process = &plan->process;
	if (plan->privileged) {
		take_user(plan);
		take_capabilities(process);
	} else if (process->uid[1] != 0) {
		set_capabilities(0, 0, 0);
	}
	if (process->no_new_privs)
		rt_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void futex_wait(uint32_t *word, uint32_t value)
{
	rt_syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(uint32_t *word)
{
	rt_syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

/* Until *word has reached `value`. */
static void await(uint32_t *word, uint32_t value)
{
	uint32_t seen;
	while ((seen = __atomic_load_n(word, __ATOMIC_ACQUIRE)) < value)
		futex_wait(word, seen);
}

static void thread_main(struct plan_thread *thread)
{
	struct plan *plan = thread->plan;
	set_thread_state(&thread->state);
	__atomic_add_fetch(&plan->ready, 1, __ATOMIC_RELEASE);
	futex_wake(&plan->ready);
	await(&plan->go, 1);
	take_credentials(plan);
	__atomic_add_fetch(&plan->ready, 1, __ATOMIC_RELEASE);
	futex_wake(&plan->ready);
	await(&plan->go, 2);
	restorer_enter(thread->state.context);
}

/* Somebody has one of our numbers: the tool tries again in a namespace of the process's own. */
__attribute__((noreturn)) static void give_up_numbers(void)
{
	*PLAN_OUTCOME = RESTORE_NUMBER_TAKEN;
	for (;;)
		rt_syscall(SYS_exit_group, EXIT_TOOL_FAILED);
}

static void start_thread(struct plan_thread *thread)
{
	uint64_t tid = (uint64_t)thread->state.tid;
	struct clone_args arguments = {
		.flags =
			CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS,
		.stack = thread->stack_top - PLAN_THREAD_STACK,
		.stack_size = PLAN_THREAD_STACK,
		.tls = thread->state.tls_base,
		.set_tid = (uint64_t)&tid,
		.set_tid_size = 1,
	};
	long result = restorer_clone(&arguments, sizeof(arguments), thread_main, thread);
	if (result == -EEXIST)
		give_up_numbers();
	if (result < 0)
		fail("creating a thread with its old number", tid, result);
}

/* ---- children ---- */

/* Ends as the child ended, or as a lost one does: by SIGKILL. */
__attribute__((noreturn)) static void end_as_child(const struct manifest_child *child)
{
	struct rt_kernel_sigaction standard = {.handler = (void *)SIG_DFL};
	struct rlimit no_core = {0, 0};
	int signal = child->ended ? child->status & 0x7f : SIGKILL;
	if (signal != 0) {
		uint64_t mask = ~(1UL << (signal - 1));
		rt_syscall(SYS_prlimit64, 0, RLIMIT_CORE, &no_core, NULL);
		rt_syscall(SYS_rt_sigaction, signal, &standard, NULL, sizeof(uint64_t));
		rt_syscall(SYS_kill, rt_sys_getpid(), signal);
		rt_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
	}
	for (;;)
		rt_syscall(SYS_exit_group, child->status >> 8 & 0xff);
}

static void make_child(const struct manifest_child *child)
{
	uint64_t pid = (uint64_t)child->pid;
	struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uint64_t)&pid, .set_tid_size = 1};
	long result = rt_syscall(SYS_clone3, &arguments, sizeof(arguments));
	if (result == 0)
		end_as_child(child);
	if (result == -EEXIST)
		give_up_numbers();
	if (result < 0)
		fail("creating the remains of a child", pid, result);
	siginfo_t info;
	rt_syscall(SYS_waitid, 1 /* P_PID */, pid, &info, 0x01000004 /* WNOWAIT | WEXITED */, NULL);
}

/* First those that had ended, whose SIGCHLD the program has had; then the lost ones. */
static void make_children(const struct plan *plan)
{
	uint64_t child_signal = 1UL << (SIGCHLD - 1);
	struct timespec now = {0, 0};
	for (uint32_t i = 0; i < plan->child_count; i++)
		if (plan->children[i].ended)
			make_child(&plan->children[i]);
	rt_syscall(SYS_rt_sigtimedwait, &child_signal, NULL, &now, sizeof(child_signal));
	for (uint32_t i = 0; i < plan->child_count; i++)
		if (!plan->children[i].ended)
			make_child(&plan->children[i]);
}

static void start_threads(struct plan *plan)
{
	for (uint32_t i = 1; i < plan->thread_count; i++)
		start_thread(&plan->threads[i]);
	await(&plan->ready, plan->thread_count - 1);
}

void restorer_main(struct plan *plan)
{
	clear_address_space(plan);
	reach(plan, RT_FAIL_RESTORER_CLEARED);
	move_special(plan);
	map_regions(plan);
	finish_shared_memory(plan);
	reach(plan, RT_FAIL_RESTORER_MAPPED);
	load_pages(plan);
	reach(plan, RT_FAIL_RESTORER_LOADED);
	patch_memory(plan);
	protect_regions(plan);
	advise(plan);
	set_mm_map(plan);
	set_signals(plan);
	close_own_descriptors(plan);
	set_limits(plan, false);

	const struct manifest_thread *self = &plan->threads[0].state;
	rt_syscall(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, self->tls_base);
	set_thread_state(self);
	make_children(plan);
	start_threads(plan);
	reach(plan, RT_FAIL_RESTORER_THREADS);

	int (*resume)(struct rt_resume *) = (int (*)(struct rt_resume *))plan->process.resume_entry;
	int result = resume(&plan->resume);
	if (result < 0)
		fail(plan->resume.problem, 0, result);
	set_limits(plan, true);
	make_signals_pending(plan);
	set_timers(plan);
	make_posix_timers(plan);
	close_message_descriptor(plan);
	reach(plan, RT_FAIL_RESTORER_GO);
	*PLAN_OUTCOME = RESTORE_RUNNING;
	__atomic_store_n(&plan->go, 1, __ATOMIC_RELEASE);
	futex_wake(&plan->go);
	take_credentials(plan);
	/* The kernel clears the dumpable flag, which is the process's, for each thread that changes. */
	await(&plan->ready, 2 * (plan->thread_count - 1));
	if (plan->privileged && plan->process.dumpable <= 1)
		rt_syscall(SYS_prctl, PR_SET_DUMPABLE, plan->process.dumpable, 0, 0, 0);
	__atomic_store_n(&plan->go, 2, __ATOMIC_RELEASE);
	futex_wake(&plan->go);
	rt_syscall(SYS_prctl, PR_SET_PDEATHSIG, plan->process.parent_death_signal, 0, 0, 0);
	reach(plan, RT_FAIL_RESTORER_GONE);
	if (self->exited)
		for (;;)
			rt_syscall(SYS_exit, 0);
	restorer_enter(self->context);
}
