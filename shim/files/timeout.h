/*
 * Calls that wait on a socket for as long as SO_RCVTIMEO or SO_SNDTIMEO says. The kernel never restarts those after a
 * signal. When it was our signal alone that interrupted one, the wrapper waits for what is left and makes the call again.
 * A program that never sets a timeout pays nothing.
 */
#ifndef SHIM_TIMEOUT_H
#define SHIM_TIMEOUT_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "threads/thread.h"
#include "threads/wait.h"

/* Atomic, never cleared: setsockopt() has been called for a timeout. */
extern bool shim_timeouts_set;

void shim_begin_timeout(struct rt_wait *wait, long number, int fd, int option);

/* After a call that has failed: true when it is to be made again. Else errno says what it ends with. */
bool shim_wait_again(struct rt_wait *wait, int fd, short events);

/* Whether the call may have a timeout at all; false for all calls of most programs. */
static inline bool shim_may_time_out(int flags)
{
	return __builtin_expect(__atomic_load_n(&shim_timeouts_set, __ATOMIC_RELAXED), 0) && !(flags & MSG_DONTWAIT) &&
	       rt_root.engine != NULL;
}

/* `result` is what `call` gives, which is made until it ends by something else than our signal. */
#define SHIM_WITH_TIMEOUT(result, flags, number, fd, option, events, call)          \
	do {                                                                        \
		if (!shim_may_time_out(flags)) {                                    \
			(result) = (call);                                          \
		} else {                                                            \
			struct rt_wait wait __attribute__((cleanup(rt_wait_end)));  \
			shim_begin_timeout(&wait, number, fd, option);              \
			do                                                          \
				(result) = (call);                                  \
			while ((result) < 0 && shim_wait_again(&wait, fd, events)); \
		}                                                                   \
	} while (0)

/* What the socket waits with: to receive, and to send. */
#define SHIM_RECEIVING(result, flags, number, fd, call) \
	SHIM_WITH_TIMEOUT(result, flags, number, fd, SO_RCVTIMEO, POLLIN, call)
#define SHIM_SENDING(result, flags, number, fd, call) \
	SHIM_WITH_TIMEOUT(result, flags, number, fd, SO_SNDTIMEO, POLLOUT, call)

#endif
