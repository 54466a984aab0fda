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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "base/sys.h"
#include "freestanding.h"
#include "layout.h"
#include "threads/thread.h"

#define EXIT_TOOL_FAILED 125

long restorer_clone(struct clone_args *arguments, size_t size, void (*entry)(struct plan_thread *),
		    struct plan_thread *thread);
__attribute__((noreturn)) void restorer_enter(uint64_t context);
__attribute__((noreturn)) void restorer_main(struct plan *plan);

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

void print(const char *text)
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

void fail(const char *step, uint64_t address, long error)
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

/* Notes what the kernel has refused to set. */
static void note(struct plan *plan, enum plan_refused what, long result)
{
	if (result < 0)
		__atomic_or_fetch(&plan->refused, 1U << what, __ATOMIC_RELAXED);
}

/* In one line. */
static void say_refused(const struct plan *plan)
{
	static const char names[REFUSED_KINDS][20] = {"processor affinity", "scheduling policy", "nice value",
						      "I/O priority", "resource limits"};
	const char *before = "respct-restore: for want of rights, or of processors, not set again: ";
	for (unsigned kind = 0; kind < REFUSED_KINDS; kind++) {
		if ((plan->refused & 1U << kind) == 0)
			continue;
		print(before);
		print(names[kind]);
		before = ", ";
	}
	if (plan->refused != 0)
		print("\n");
}

void reach(struct plan *plan, enum rt_fail_point point)
{
	int result = rt_fail_reach(&plan->resume.fail, point, FAIL_REFUSES);
	if (result < 0)
		fail("a fail point", 0, result);
}

/* ---- limits and descriptors ---- */

static bool limits_memory(const struct manifest_limit *limit)
{
	return limit->resource == RLIMIT_AS || limit->resource == RLIMIT_DATA;
}

/* A limit that may not be raised again stays as it is. */
static void set_limit(struct plan *plan, const struct manifest_limit *limit, uint64_t room)
{
	struct rlimit wanted = {limit->soft, limit->hard};
	if (wanted.rlim_cur < wanted.rlim_max)
		wanted.rlim_cur = wanted.rlim_max - wanted.rlim_cur > room ? wanted.rlim_cur + room : wanted.rlim_max;
	note(plan, REFUSED_LIMITS, rt_syscall(SYS_prlimit64, 0, limit->resource, &wanted, NULL));
}

/*
 * Soft limits of memory go up with what the runtime maps when it starts, so they come before that;
 * those that cannot, after it. The restorer is still there and counts.
 */
static void set_limits(struct plan *plan, bool started)
{
	for (uint32_t i = 0; i < plan->limit_count; i++) {
		const struct manifest_limit *limit = &plan->limits[i];
		bool after = limits_memory(limit) && limit->soft == limit->hard;
		if (after == started)
			set_limit(plan, limit, limits_memory(limit) ? plan->block_end - RT_RESTORER_BASE : 0);
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

static void set_thread_state(struct plan *plan, const struct manifest_thread *state)
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
	note(plan, REFUSED_AFFINITY, rt_syscall(SYS_sched_setaffinity, 0, sizeof(state->affinity), state->affinity));
	note(plan, REFUSED_SCHEDULING, rt_syscall(SYS_sched_setscheduler, 0, state->policy, &priority));
	note(plan, REFUSED_NICE, rt_syscall(SYS_setpriority, PRIO_PROCESS, 0, state->nice));
	if (state->io_priority >= 0)
		note(plan, REFUSED_IO_PRIORITY,
		     rt_syscall(SYS_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, state->io_priority));
	if (state->timer_slack != 0)
		rt_syscall(SYS_prctl, PR_SET_TIMERSLACK, state->timer_slack, 0, 0, 0);
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
	set_thread_state(plan, &thread->state);
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
	set_thread_state(plan, self);
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
	say_refused(plan);
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
