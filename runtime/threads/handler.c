/* How the program's signal handlers return; see handler.h. */
#include "handler.h"

#include <string.h>

#include "arch/x86_64/context.h"
#include "base/sys.h"
#include "interrupted.h"
#include "wait.h"

static void (*libc_return)(void);

static void (*own_return(unsigned long flags))(void)
{
	return flags & SA_RESTART ? rt_arch_restarting_handler_return : rt_arch_handler_return;
}

void rt_handler_start(int signal)
{
	struct sigaction current;
	struct rt_kernel_sigaction action;
	if (sigaction(signal, NULL, &current) == 0 && sigaction(signal, &current, NULL) == 0 &&
	    rt_syscall(SYS_rt_sigaction, signal, NULL, &action, sizeof(uint64_t)) == 0)
		libc_return = action.restorer;
}

int rt_handler_set(int signal, const struct sigaction *action, struct sigaction *old)
{
	struct rt_kernel_sigaction previous;
	struct rt_kernel_sigaction set = {
		.handler = action->sa_sigaction,
		.flags = (unsigned int)action->sa_flags | RT_SA_RESTORER,
		.restorer = own_return((unsigned int)action->sa_flags),
	};
	memcpy(&set.mask, &action->sa_mask, sizeof(set.mask));
	int result = (int)rt_syscall(SYS_rt_sigaction, signal, &set, &previous, sizeof(uint64_t));
	if (result < 0 || old == NULL)
		return result;
	memset(old, 0, sizeof(*old));
	old->sa_sigaction = previous.handler;
	old->sa_flags = (int)previous.flags;
	old->sa_restorer = previous.restorer;
	memcpy(&old->sa_mask, &previous.mask, sizeof(previous.mask));
	return 0;
}

void rt_handler_adopt(int signal, struct rt_kernel_sigaction *action)
{
	if (libc_return == NULL || action->restorer != libc_return || !rt_is_handler(action))
		return;
	action->restorer = own_return(action->flags);
	rt_syscall(SYS_rt_sigaction, signal, action, NULL, sizeof(uint64_t));
}

bool rt_handler_sees_to_calls(const struct rt_kernel_sigaction *action)
{
	return action->restorer == rt_arch_handler_return || action->restorer == rt_arch_restarting_handler_return;
}

void rt_handler_returns(ucontext_t *context, bool restarts)
{
	greg_t *registers = context->uc_mcontext.gregs;
	struct rt_wait *wait = rt_described_wait(registers);
	if (wait != NULL)
		wait->interrupted = false;
	rt_local.cut_short = false;
	rt_end_interrupted_call(registers);
	rt_end_restarted_call(registers, !restarts);
}
