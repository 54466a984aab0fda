/* Signals: handlers, timers, and what is pending. */
#include "freestanding.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

#include "base/sys.h"
#include "threads/thread.h"

#define PR_TIMER_CREATE_RESTORE_IDS 77 /* Linux 6.15 */

void set_signals(const struct plan *plan)
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

void set_timers(const struct plan *plan)
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

void make_posix_timers(const struct plan *plan)
{
	if (plan->posix_timer_count == 0)
		return;
	rt_syscall(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0);
	for (uint32_t i = 0; i < plan->posix_timer_count; i++)
		make_posix_timer(&plan->posix_timers[i]);
	rt_syscall(SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS, 0, 0, 0, 0);
	start_posix_timers(plan);
}

/* What tgkill() sent is sent so again, by this process. */
static void queue_signal(int pid, const struct manifest_queued_signal *queued)
{
	long result;
	if (queued->tid == 0)
		result = rt_syscall(SYS_rt_sigqueueinfo, pid, queued->number, queued->info);
	else
		result = rt_syscall(SYS_rt_tgsigqueueinfo, pid, queued->tid, queued->number, queued->info);
	if (result == -EPERM && queued->tid != 0)
		result = rt_sys_tgkill(pid, queued->tid, queued->number);
	if (result < 0)
		fail("making a signal pending again", 0, result);
}

/* All threads still block all signals, so they stay pending. */
void make_signals_pending(const struct plan *plan)
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
	for (uint32_t i = 0; i < plan->queued_signal_count; i++)
		queue_signal(pid, &plan->queued_signals[i]);
}
