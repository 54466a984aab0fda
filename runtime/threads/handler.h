/*
 * The program's signal handlers: how they return.
 *
 * libc has each handler return by a few instructions of its own (sa_restorer of the kernel's sigaction), which call
 * rt_sigreturn. Ours take their place and see to the system call that the handler has interrupted first; why is in
 * interrupted.h. The program does not notice: libc does not show the restorer of others, and unwinders find their way
 * through ours as they do through libc's.
 *
 * A handler that is set behind the shim's back, by libc itself or before the runtime has started, is found at the next
 * checkpoint. Restorers that are not libc's are left alone.
 */
#ifndef RT_HANDLER_H
#define RT_HANDLER_H

#include <signal.h>
#include <stdbool.h>
#include <ucontext.h>

#include "thread.h"

/* Whether the action is neither to ignore the signal nor its default. */
static inline bool rt_is_handler(const struct rt_kernel_sigaction *action)
{
	return action->handler != (void *)SIG_DFL && action->handler != (void *)SIG_IGN;
}

/* Finds out what libc's handlers return by; `signal` is one that nobody has yet set. Before rt_root.signal is. */
void rt_handler_start(int signal);

/* sigaction() with a handler, without libc. 0 or -errno. */
int rt_handler_set(int signal, const struct sigaction *action, struct sigaction *old);

/* Sets what the action returns by, if that is libc's; `signal` has this action. While no thread of the program runs. */
void rt_handler_adopt(int signal, struct rt_kernel_sigaction *action);

/* Whether the handler of this action returns by ours. */
bool rt_handler_sees_to_calls(const struct rt_kernel_sigaction *action);

/* What ours do: `context` is what the handler, with SA_RESTART or without, is about to return to. */
void rt_handler_returns(ucontext_t *context, bool restarts);

#endif
