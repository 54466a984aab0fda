/*
 * Signals: a program may block, catch or wait for all of them; the straggler signal is left out
 * of what it asks for. A handler it installs for that number is kept and called for signals that
 * are not the runtime's.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/signalfd.h>

#include "mask.h"
#include "next.h"
#include "thread.h"

static int shadow_action(const struct sigaction *action, struct sigaction *old)
{
	struct sigaction previous = rt_straggler_shadow;
	if (action != NULL)
		rt_straggler_shadow = *action;
	if (old != NULL)
		*old = previous;
	return 0;
}

SHIM_EXPORT int sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict old)
{
	if (rt_root.signal == 0)
		return SHIM_NEXT(sigaction)(number, action, old);
	if (number == rt_root.signal)
		return shadow_action(action, old);
	if (action == NULL || sigismember(&action->sa_mask, rt_root.signal) != 1)
		return SHIM_NEXT(sigaction)(number, action, old);
	struct sigaction copy = *action;
	sigdelset(&copy.sa_mask, rt_root.signal);
	return SHIM_NEXT(sigaction)(number, &copy, old);
}

SHIM_EXPORT sighandler_t signal(int number, sighandler_t handler)
{
	if (rt_root.signal == 0 || number != rt_root.signal)
		return SHIM_NEXT(signal)(number, handler);
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
	shadow_action(&action, &old);
	return old.sa_handler;
}

SHIM_EXPORT int sigprocmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	sigset_t copy;
	return SHIM_NEXT(sigprocmask)(how, how == SIG_UNBLOCK ? set : shim_mask_without_ours(set, &copy), old);
}

SHIM_EXPORT int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict old)
{
	sigset_t copy;
	return SHIM_NEXT(pthread_sigmask)(how, how == SIG_UNBLOCK ? set : shim_mask_without_ours(set, &copy), old);
}

SHIM_EXPORT int sigsuspend(const sigset_t *mask)
{
	sigset_t copy;
	return SHIM_NEXT(sigsuspend)(shim_mask_without_ours(mask, &copy));
}

SHIM_EXPORT int sigwait(const sigset_t *restrict set, int *restrict number)
{
	sigset_t copy;
	return SHIM_NEXT(sigwait)(shim_mask_without_ours(set, &copy), number);
}

SHIM_EXPORT int sigwaitinfo(const sigset_t *restrict set, siginfo_t *restrict info)
{
	sigset_t copy;
	return SHIM_NEXT(sigwaitinfo)(shim_mask_without_ours(set, &copy), info);
}

SHIM_EXPORT int signalfd(int fd, const sigset_t *set, int flags)
{
	sigset_t copy;
	return SHIM_NEXT(signalfd)(fd, shim_mask_without_ours(set, &copy), flags);
}

SHIM_EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	sigset_t copy;
	return SHIM_NEXT(ppoll)(fds, count, timeout, shim_mask_without_ours(mask, &copy));
}

SHIM_EXPORT int pselect(int count, fd_set *restrict in, fd_set *restrict out, fd_set *restrict except,
			const struct timespec *restrict timeout, const sigset_t *restrict mask)
{
	sigset_t copy;
	return SHIM_NEXT(pselect)(count, in, out, except, timeout, shim_mask_without_ours(mask, &copy));
}
