/*
 * Signals: a program may block, catch or wait for all of them; the straggler signal is left out
 * of what it asks for. A handler it installs for that number is kept and called for signals that
 * are not the runtime's. Where it leaves a crash to its default, the runtime's handler stands in
 * (runtime/life/crash.h), and SIG_DFL is what the program sees.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/signalfd.h>

#include "base/message.h"
#include "life/bus.h"
#include "life/crash.h"
#include "mask.h"
#include "next.h"
#include "threads/thread.h"

/* Once. Not in children. */
static void say_shared(void)
{
	static bool said;
	if (rt_root.engine == NULL || !rt_straggler_is_shared() || said)
		return;
	said = true;
	rt_say("the program catches signal %d, which stops its threads, too: it cannot block it, nor wait for it "
	       "(RESPCT_SIGNAL chooses another)",
	       rt_root.signal);
}

static int shadow_action(const struct sigaction *action, struct sigaction *old)
{
	struct sigaction previous = rt_straggler_shadow;
	if (action != NULL)
		rt_straggler_shadow = *action;
	say_shared();
	if (old != NULL)
		*old = previous;
	return 0;
}

/* Not in children: nobody writes down what they die of. */
static bool is_watched(int number)
{
	return rt_root.engine != NULL && rt_crash_watches(number);
}

static bool is_stand_in(const struct sigaction *action)
{
	return action->sa_sigaction == rt_crash_handle;
}

/* Flags of the program's that the runtime's handler of SIGBUS sees to. */
#define STAND_IN_FLAGS (SA_SIGINFO | (int)SA_RESETHAND)

/* A handler of the program's for SIGBUS is called by the runtime's, which comes first (runtime/life/bus.h). */
static bool is_bus_handler(int number, const struct sigaction *action)
{
	return number == SIGBUS && action != NULL && action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/* What the program is to see of an action of the kernel's, of which `asked` is the one it asked for. */
static void show_action(struct sigaction *shown, const struct sigaction *asked)
{
	if (is_stand_in(shown)) {
		*shown = *asked;
	} else if (shown->sa_sigaction == rt_bus_handle) {
		shown->sa_sigaction = asked->sa_sigaction;
		shown->sa_flags &= ~STAND_IN_FLAGS;
		shown->sa_flags |= asked->sa_flags & STAND_IN_FLAGS;
	}
}

static int bus_action(const struct sigaction *action, struct sigaction *previous)
{
	struct sigaction stand_in = *action, asked = rt_bus_asked;
	stand_in.sa_sigaction = rt_bus_handle;
	stand_in.sa_flags = (stand_in.sa_flags & ~STAND_IN_FLAGS) | SA_SIGINFO;
	/* Before it can come. */
	rt_bus_asked = *action;
	int result = SHIM_NEXT(sigaction)(SIGBUS, &stand_in, previous);
	if (result < 0)
		rt_bus_asked = asked;
	return result;
}

/* A default is replaced by the crash handler in the same call, and reported in its place. */
static int watched_action(int number, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction stand_in = {.sa_sigaction = rt_crash_handle, .sa_flags = SA_SIGINFO | SA_ONSTACK}, previous;
	sigfillset(&stand_in.sa_mask);
	bool to_default = action != NULL && action->sa_handler == SIG_DFL;
	struct sigaction asked = rt_crash_defaults[number], bus_asked = rt_bus_asked;
	int result = is_bus_handler(number, action)
			     ? bus_action(action, &previous)
			     : SHIM_NEXT(sigaction)(number, to_default ? &stand_in : action, &previous);
	if (result < 0)
		return result;
	if (to_default) {
		rt_crash_defaults[number] = *action;
		rt_crash_defaults[number].sa_flags |= (int)RT_SA_RESTORER; /* as libc would */
	}
	show_action(&previous, is_stand_in(&previous) ? &asked : &bus_asked);
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
	struct sigaction copy;
	if (action != NULL && sigismember(&action->sa_mask, rt_root.signal) == 1) {
		copy = *action;
		sigdelset(&copy.sa_mask, rt_root.signal);
		action = &copy;
	}
	if (is_watched(number))
		return watched_action(number, action, old);
	return SHIM_NEXT(sigaction)(number, action, old);
}

extern int __sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict old);
SHIM_EXPORT int __sigaction(int number, const struct sigaction *restrict action, struct sigaction *restrict old)
{
	return sigaction(number, action, old);
}

/* What sigaction() would be asked for. */
static sighandler_t set_by_sigaction(int number, sighandler_t handler, int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags}, old;
	if (!(flags & SA_NODEFER))
		sigaddset(&action.sa_mask, number);
	return sigaction(number, &action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

/* The older ways to set a handler; libc does not go through sigaction() for them. */
#define SET_HANDLER(name, flags)                                                             \
	SHIM_EXPORT sighandler_t name(int number, sighandler_t handler)                      \
	{                                                                                    \
		if (rt_root.signal != 0 && (number == rt_root.signal || is_watched(number))) \
			return set_by_sigaction(number, handler, flags);                     \
		return SHIM_NEXT(name)(number, handler);                                     \
	}

extern sighandler_t bsd_signal(int number, sighandler_t handler);

SET_HANDLER(signal, SA_RESTART)
SET_HANDLER(ssignal, SA_RESTART)
SET_HANDLER(bsd_signal, SA_RESTART)
SET_HANDLER(sysv_signal, SA_RESETHAND | SA_NODEFER | SA_INTERRUPT)
SET_HANDLER(__sysv_signal, SA_RESETHAND | SA_NODEFER | SA_INTERRUPT)

SHIM_EXPORT sighandler_t sigset(int number, sighandler_t disposition)
{
	static void *next; /* SHIM_NEXT would name it, and it is deprecated */
	sighandler_t old = ((sighandler_t(*)(int, sighandler_t))shim_next(&next, "sigset"))(number, disposition);
	if (disposition == SIG_DFL && is_watched(number))
		set_by_sigaction(number, SIG_DFL, 0);
	if (old == (sighandler_t)(void (*)(void))rt_bus_handle)
		return rt_bus_asked.sa_handler;
	return old == (sighandler_t)(void (*)(void))rt_crash_handle ? SIG_DFL : old;
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
