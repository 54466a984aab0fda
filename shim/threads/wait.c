/*
 * Calls that never restart after a signal and take a relative timeout: while they last, the
 * straggler handler must know when they are to end (runtime/threads/wait.h). Without a timeout they
 * need no description.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/uapi.h"
#include "shim/mask.h"
#include "shim/next.h"
#include "shim/system_call.h"
#include "threads/thread.h"
#include "threads/wait.h"

#define NS_PER_S 1000000000L
#define NS_PER_MS 1000000L
#define LONGEST_S (INT64_MAX / NS_PER_S / 2)

/* A description that ends with the scope, also when the thread is cancelled in the call. */
#define SCOPED_WAIT struct rt_wait __attribute__((cleanup(rt_wait_end)))

static int64_t deadline_after(const struct timespec *duration)
{
	if (duration->tv_sec > LONGEST_S)
		return INT64_MAX;
	return rt_monotonic_ns() + duration->tv_sec * NS_PER_S + duration->tv_nsec;
}

static void begin_milliseconds(struct rt_wait *wait, long number, int argument, int timeout)
{
	wait->number = number;
	wait->kind = RT_WAIT_MILLISECONDS;
	wait->argument = argument;
	wait->deadline_ns = rt_monotonic_ns() + timeout * NS_PER_MS;
	rt_wait_begin(wait);
}

static void begin_timespec(struct rt_wait *wait, long number, int argument, struct timespec *timeout)
{
	wait->number = number;
	wait->kind = RT_WAIT_TIMESPEC;
	wait->argument = argument;
	wait->timespec = timeout;
	wait->deadline_ns = deadline_after(timeout);
	rt_wait_begin(wait);
}

static inline bool needs_description(void)
{
	return rt_root.engine != NULL;
}

static bool is_valid(const struct timespec *duration)
{
	return duration != NULL && duration->tv_sec >= 0 && duration->tv_nsec >= 0 && duration->tv_nsec < NS_PER_S;
}

SHIM_EXPORT int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	if (timeout <= 0 || !needs_description())
		return SHIM_NEXT(poll)(fds, count, timeout);
	SCOPED_WAIT wait;
	begin_milliseconds(&wait, SYS_poll, 2, timeout);
	return SHIM_NEXT(poll)(fds, count, timeout);
}

extern int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size);

SHIM_EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t size)
{
	if (count > size / sizeof(*fds))
		return SHIM_NEXT(__poll_chk)(fds, count, timeout, size);
	return poll(fds, count, timeout);
}

SHIM_EXPORT int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
	if (timeout <= 0 || !needs_description())
		return SHIM_NEXT(epoll_wait)(epoll, events, count, timeout);
	SCOPED_WAIT wait;
	begin_milliseconds(&wait, SYS_epoll_wait, 3, timeout);
	return SHIM_NEXT(epoll_wait)(epoll, events, count, timeout);
}

SHIM_EXPORT int epoll_pwait(int epoll, struct epoll_event *events, int count, int timeout, const sigset_t *mask)
{
	sigset_t copy;
	mask = shim_mask_without_ours(mask, &copy);
	if (timeout <= 0 || !needs_description())
		return SHIM_NEXT(epoll_pwait)(epoll, events, count, timeout, mask);
	SCOPED_WAIT wait;
	begin_milliseconds(&wait, SYS_epoll_pwait, 3, timeout);
	return SHIM_NEXT(epoll_pwait)(epoll, events, count, timeout, mask);
}

SHIM_EXPORT int epoll_pwait2(int epoll, struct epoll_event *events, int count, const struct timespec *timeout,
			     const sigset_t *mask)
{
	sigset_t copy;
	mask = shim_mask_without_ours(mask, &copy);
	if (!is_valid(timeout) || !needs_description())
		return SHIM_NEXT(epoll_pwait2)(epoll, events, count, timeout, mask);
	struct timespec left = *timeout;
	SCOPED_WAIT wait;
	begin_timespec(&wait, SYS_epoll_pwait2, 3, &left);
	return SHIM_NEXT(epoll_pwait2)(epoll, events, count, &left, mask);
}

long shim_system_call(long number, const long arguments[6])
{
	if (!needs_description())
		return SHIM_NEXT(syscall)(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
					  arguments[5]);
	SCOPED_WAIT wait = {.number = number, .kind = RT_WAIT_NUMBER, .deadline_ns = INT64_MAX};
	rt_wait_begin(&wait);
	return SHIM_NEXT(syscall)(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
				  arguments[5]);
}

long shim_futex(const long arguments[6])
{
	const struct timespec *timeout = (const struct timespec *)arguments[3];
	int command = (int)arguments[1] & FUTEX_CMD_MASK;
	bool relative = command == FUTEX_WAIT && is_valid(timeout);
	/* Other commands have no timeout, an absolute one, or a number in its place. */
	if (!relative || !needs_description())
		return shim_system_call(SYS_futex, arguments);
	struct timespec left = *timeout;
	SCOPED_WAIT wait;
	begin_timespec(&wait, SYS_futex, 3, &left);
	return SHIM_NEXT(syscall)(SYS_futex, arguments[0], arguments[1], arguments[2], &left, arguments[4],
				  arguments[5]);
}

/* glibc implements nanosleep() by the clock_nanosleep system call. */
SHIM_EXPORT int nanosleep(const struct timespec *duration, struct timespec *remaining)
{
	if (!is_valid(duration) || !needs_description())
		return SHIM_NEXT(nanosleep)(duration, remaining);
	struct timespec left = *duration;
	SCOPED_WAIT wait;
	begin_timespec(&wait, SYS_clock_nanosleep, 2, &left);
	return SHIM_NEXT(nanosleep)(&left, remaining);
}

SHIM_EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *duration, struct timespec *remaining)
{
	if ((flags & TIMER_ABSTIME) || !is_valid(duration) || !needs_description())
		return SHIM_NEXT(clock_nanosleep)(clock, flags, duration, remaining);
	struct timespec left = *duration;
	SCOPED_WAIT wait;
	begin_timespec(&wait, SYS_clock_nanosleep, 2, &left);
	return SHIM_NEXT(clock_nanosleep)(clock, flags, &left, remaining);
}

SHIM_EXPORT int usleep(useconds_t microseconds)
{
	struct timespec duration = {microseconds / 1000000, (long)(microseconds % 1000000) * 1000};
	return nanosleep(&duration, NULL);
}

SHIM_EXPORT unsigned int sleep(unsigned int seconds)
{
	struct timespec duration = {seconds, 0}, remaining = {0, 0};
	int saved = errno;
	if (nanosleep(&duration, &remaining) == 0) {
		errno = saved;
		return 0;
	}
	return (unsigned int)remaining.tv_sec + (remaining.tv_nsec >= NS_PER_S / 2);
}

SHIM_EXPORT int thrd_sleep(const struct timespec *duration, struct timespec *remaining)
{
	int saved = errno;
	int result = nanosleep(duration, remaining);
	int error = errno;
	errno = saved;
	return result == 0 ? 0 : error == EINTR ? -1 : -2; /* C11 7.26.5.7 */
}

SHIM_EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
	sigset_t copy;
	set = shim_mask_without_ours(set, &copy);
	if (!is_valid(timeout) || !needs_description())
		return SHIM_NEXT(sigtimedwait)(set, info, timeout);
	struct timespec left = *timeout;
	SCOPED_WAIT wait;
	begin_timespec(&wait, SYS_rt_sigtimedwait, 2, &left);
	return SHIM_NEXT(sigtimedwait)(set, info, &left);
}

SHIM_EXPORT int semtimedop(int semaphores, struct sembuf *operations, size_t count, const struct timespec *timeout)
{
	if (!is_valid(timeout) || !needs_description())
		return SHIM_NEXT(semtimedop)(semaphores, operations, count, timeout);
	struct timespec left = *timeout;
	SCOPED_WAIT wait;
	begin_timespec(&wait, SYS_semtimedop, 3, &left);
	return SHIM_NEXT(semtimedop)(semaphores, operations, count, &left);
}

/*
 * A handler that leaves a call so leaves its description behind, too. One that jumps within itself makes the call it has
 * interrupted an undescribed one, which it has ended anyway.
 */
#define JUMP(name, buffer)                                                             \
	SHIM_EXPORT void __attribute__((noreturn)) name(buffer environment, int value) \
	{                                                                              \
		rt_local.wait = NULL;                                                  \
		SHIM_NEXT(name)(environment, value);                                   \
		__builtin_unreachable();                                               \
	}

extern void __longjmp_chk(jmp_buf environment, int value) __attribute__((noreturn));

JUMP(longjmp, jmp_buf)
JUMP(_longjmp, jmp_buf)
JUMP(siglongjmp, sigjmp_buf)
JUMP(__longjmp_chk, jmp_buf)
