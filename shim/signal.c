/*
 * Signals: a program may block, catch or wait for all of them; the straggler signal is left out
 * of what it asks for. A handler it installs for that number is kept and called for signals that
 * are not the runtime's. Where it leaves a crash to its default, the runtime's handler stands in
 * (runtime/life/crash.h), and SIG_DFL is what the program sees.
 */
#include <errno.h>
#include <gnu/libc-version.h>
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
#include "threads/handler.h"
#include "threads/thread.h"

/* Signals of libc's own, which it refuses to others. */
#define LIBC_CANCEL 32
#define LIBC_SETXID 33

/* Whether the next sigaction() is libc's own, not that of another preloaded library, which must see the call. */
static bool next_is_libc(void)
{
	static int known; /* 1: no, 2: yes */
	Dl_info libc, next;
	if (__atomic_load_n(&known, __ATOMIC_RELAXED) == 0) {
		bool is = dladdr((void *)SHIM_NEXT(sigaction), &next) != 0 &&
			  dladdr((void *)SHIM_NEXT(gnu_get_libc_version), &libc) != 0 &&
			  next.dli_fbase == libc.dli_fbase;
		__atomic_store_n(&known, 1 + is, __ATOMIC_RELAXED);
	}
	return known == 2;
}

static bool is_handler(const struct sigaction *action)
{
	return action != NULL && action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN;
}

/* sigaction(); handlers return by the runtime's instructions (runtime/threads/handler.h). */
static int next_action(int number, const struct sigaction *action, struct sigaction *old)
{
	if (!is_handler(action) || number == LIBC_CANCEL || number == LIBC_SETXID || !next_is_libc())
		return SHIM_NEXT(sigaction)(number, action, old);
	int result = rt_handler_set(number, action, old);
	if (result == 0)
		return 0;
	errno = -result;
	return -1;
}

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
	return number == SIGBUS && is_handler(action);
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
	int result = next_action(SIGBUS, &stand_in, previous);
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
	int result = is_bus_handler(number, action) ? bus_action(action, &previous)
						    : next_action(number, to_default ? &stand_in : action, &previous);
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
	return next_action(number, action, old);
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
#define SET_HANDLER(name, flags)                                         \
	SHIM_EXPORT sighandler_t name(int number, sighandler_t handler)  \
	{                                                                \
		if (rt_root.signal != 0 && handler != SIG_ERR)           \
			return set_by_sigaction(number, handler, flags); \
		return SHIM_NEXT(name)(number, handler);                 \
	}

static uint64_t interrupting; /* atomic: signals for which siginterrupt() was asked to let handlers end calls */

static uint64_t bit_of(int number)
{
	return number >= 1 && number < NSIG ? 1UL << (number - 1) : 0;
}

/* What signal() sets. */
static int bsd_flags(int number)
{
	return __atomic_load_n(&interrupting, __ATOMIC_ACQUIRE) & bit_of(number) ? 0 : SA_RESTART;
}

/* libc sets the handler anew, which is set once more. */
SHIM_EXPORT int siginterrupt(int number, int interrupt)
{
	static void *next; /* SHIM_NEXT would name it, and it is deprecated */
	struct sigaction action;
	int result = ((int (*)(int, int))shim_next(&next, "siginterrupt"))(number, interrupt);
	if (result < 0)
		return result;
	if (interrupt)
		__atomic_fetch_or(&interrupting, bit_of(number), __ATOMIC_RELEASE);
	else
		__atomic_fetch_and(&interrupting, ~bit_of(number), __ATOMIC_RELEASE);
	if (rt_root.signal != 0 && sigaction(number, NULL, &action) == 0 && is_handler(&action))
		sigaction(number, &action, NULL);
	return result;
}

extern sighandler_t bsd_signal(int number, sighandler_t handler);

SET_HANDLER(signal, bsd_flags(number))
SET_HANDLER(ssignal, bsd_flags(number))
SET_HANDLER(bsd_signal, bsd_flags(number))
SET_HANDLER(sysv_signal, SA_RESETHAND | SA_NODEFER | SA_INTERRUPT)
SET_HANDLER(__sysv_signal, SA_RESETHAND | SA_NODEFER | SA_INTERRUPT)

/* Of these, too, libc has set the handler by then, and the mask of the thread. */
SHIM_EXPORT sighandler_t sigset(int number, sighandler_t disposition)
{
	static void *next; /* SHIM_NEXT would name it, and it is deprecated */
	sighandler_t bus_asked = rt_bus_asked.sa_handler;
	sighandler_t old = ((sighandler_t(*)(int, sighandler_t))shim_next(&next, "sigset"))(number, disposition);
	struct sigaction action;
	if (disposition == SIG_DFL && is_watched(number))
		set_by_sigaction(number, SIG_DFL, 0);
	else if (rt_root.signal != 0 && old != SIG_ERR && disposition != SIG_HOLD &&
		 SHIM_NEXT(sigaction)(number, NULL, &action) == 0 && is_handler(&action))
		sigaction(number, &action, NULL);
	if (old == (sighandler_t)(void (*)(void))rt_bus_handle)
		return bus_asked;
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
