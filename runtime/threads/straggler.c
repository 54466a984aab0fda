/*
 * Stragglers: threads that reach no restart point in time are captured in a signal handler.
 *
 * The kernel makes this exact. When it delivers the signal, an interrupted system call has
 * either completed (its result is in the frame) or will be made again from the frame
 * (SA_RESTART), and all registers, vector state included, are in the frame on the thread's own
 * stack, which is part of the image. So a thread may be captured anywhere, also asleep in the
 * kernel: nothing is consumed, no wake-up is lost, no waiter is left behind.
 *
 * What is left to do here are the calls that never restart after a signal (signal(7)): the
 * handler makes them again itself, with the time that is left. That handlers of the program's
 * own end them with EINTR, as they would have without us, is seen to as these return (handler.h).
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <ucontext.h>

#include "arch/x86_64/context.h"
#include "base/sys.h"
#include "engine.h"
#include "handler.h"
#include "interrupted.h"
#include "thread.h"
#include "wait.h"

/* Tells our signal from one that the program sends with the same number. */
#define STRAGGLER_COOKIE ((void *)0x72657370637421UL)

struct sigaction rt_straggler_shadow;

bool rt_straggler_is(const siginfo_t *info)
{
	return info->si_code == SI_QUEUE && info->si_value.sival_ptr == STRAGGLER_COOKIE;
}

bool rt_straggler_is_shared(void)
{
	return rt_straggler_shadow.sa_handler != SIG_DFL && rt_straggler_shadow.sa_handler != SIG_IGN;
}

void rt_wait_begin(struct rt_wait *wait)
{
	wait->outer = rt_local.wait;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	rt_local.wait = wait;
}

void rt_wait_end(struct rt_wait *wait)
{
	rt_local.wait = wait->outer;
}

static int argument_register(int argument)
{
	static const int registers[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
	return registers[argument];
}

/* The description of the interrupted call, if a wrapper gave one and it has a timeout. */
static struct rt_wait *timed_wait(const greg_t *registers, long number)
{
	struct rt_wait *wait = rt_described_wait(registers);
	return wait != NULL && wait->number == number && wait->deadline_ns != INT64_MAX ? wait : NULL;
}

static void set_time_left(struct rt_wait *wait, greg_t *registers, int64_t left)
{
	if (left < 0)
		left = 0;
	if (wait->kind == RT_WAIT_MILLISECONDS) {
		/* Rounded up, so that it never returns early. */
		registers[argument_register(wait->argument)] = (left + 999999) / 1000000;
	} else {
		wait->timespec->tv_sec = left / 1000000000;
		wait->timespec->tv_nsec = left % 1000000000;
		/* A library between the wrapper and the call may have copied it. */
		registers[argument_register(wait->argument)] = (greg_t)wait->timespec;
	}
}

static bool is_disconnecting(uint64_t address)
{
	sa_family_t family = AF_UNSPEC;
	struct iovec local = {&family, sizeof(family)}, remote = {(void *)address, sizeof(family)};
	return rt_syscall(SYS_process_vm_readv, rt_sys_getpid(), &local, 1, &remote, 1, 0) != sizeof(family) ||
	       family == AF_UNSPEC;
}

/*
 * A connect() that was under way, in a restored process: what its request came to before the checkpoint, or the restore
 * has done again, the kernel would call a mistake (EISCONN), as it does not know that this is the same call. True: it
 * has been ended.
 */
static bool end_connected(greg_t *registers, long interrupted)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer), type_length = sizeof(int);
	int fd = (int)registers[REG_RDI], type = 0;
	bool before = rt_is_before_call(registers, SYS_connect);
	if ((!before && interrupted != SYS_connect) ||
	    rt_syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &type_length) < 0 || type != SOCK_STREAM ||
	    rt_syscall(SYS_getpeername, fd, &peer, &length) < 0 || is_disconnecting((uint64_t)registers[REG_RSI]))
		return false;
	if (before)
		registers[REG_RIP] += 2;
	registers[REG_RAX] = 0;
	return true;
}

/* Signals of the program's own that will be delivered as soon as our handler returns. */
static uint64_t deliverable_signals(const ucontext_t *context)
{
	uint64_t pending = 0, blocked;
	memcpy(&blocked, &context->uc_sigmask, sizeof(blocked));
	rt_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	if (!rt_straggler_is_shared())
		blocked |= 1UL << (rt_root.signal - 1);
	return pending & ~blocked;
}

/*
 * Whether one of these signals has a handler that does not see to the call itself as it returns (handler.h); with
 * `interrupting`, one without SA_RESTART.
 */
static bool runs_other_handler(uint64_t signals, bool interrupting)
{
	for (; signals != 0; signals &= signals - 1) {
		struct rt_kernel_sigaction action;
		int number = __builtin_ctzl(signals) + 1;
		if (rt_syscall(SYS_rt_sigaction, number, NULL, &action, sizeof(uint64_t)) < 0)
			continue;
		if (!rt_is_handler(&action) || rt_handler_sees_to_calls(&action))
			continue;
		if (!interrupting || (action.flags & SA_RESTART) == 0)
			return true;
	}
	return false;
}

/* Makes an interrupted call again that the kernel would end with EINTR. */
static void restart_call(ucontext_t *context, long number, struct rt_wait *wait)
{
	greg_t *registers = context->uc_mcontext.gregs;
	if (runs_other_handler(deliverable_signals(context), false))
		return;
	if (wait != NULL && wait->kind == RT_WAIT_SOCKET) {
		wait->interrupted = true;
		return;
	}
	if (wait != NULL)
		set_time_left(wait, registers, wait->left_ns);
	rt_make_call_again(registers, number);
}

/* A call that the kernel will restart, but a handler of the program's should interrupt. */
static void interrupt_restarted_call(ucontext_t *context)
{
	uint64_t signals = deliverable_signals(context);
	if (signals != 0 && runs_other_handler(signals, true))
		rt_end_restarted_call(context->uc_mcontext.gregs, true);
}

/*
 * Whether the thread is in the kernel's code for reading clocks. It must not be captured there: under
 * another kernel that code is gone, and what it has read of the clock means nothing in another life.
 */
static bool is_in_vdso(const ucontext_t *context)
{
	const struct engine *engine = rt_root.stopper;
	uint64_t at = (uint64_t)context->uc_mcontext.gregs[REG_RIP];
	return at >= engine->vdso_start && at < engine->vdso_end;
}

/*
 * Parks the thread. A wait with a relative timeout keeps its deadline while the process lives;
 * a restored thread waits for what was left when it was captured.
 */
static void stop_in_handler(ucontext_t *context)
{
	greg_t *registers = context->uc_mcontext.gregs;
	rt_undo_restart_syscall(registers);
	long number = rt_interrupted_call(registers);
	struct rt_wait *wait = number == NEVER_SYSCALL ? NULL : timed_wait(registers, number);
	if (wait != NULL)
		wait->left_ns = wait->deadline_ns - rt_monotonic_ns();
	bool restored = rt_thread_stop(true);
	if (wait != NULL) {
		int64_t now = rt_monotonic_ns();
		if (restored)
			wait->deadline_ns = now + wait->left_ns;
		else
			wait->left_ns = wait->deadline_ns - now;
	}
	/* A call may have given less than it was to: then its wrapper asks for the rest. */
	if (registers[REG_RAX] > 0 && rt_is_behind_call(registers) &&
	    !runs_other_handler(deliverable_signals(context), false))
		rt_local.cut_short = true;
	if (restored && end_connected(registers, number))
		return;
	if (number != NEVER_SYSCALL) {
		restart_call(context, number, wait);
	} else {
		rt_mark_restarted_call(registers);
		interrupt_restarted_call(context);
	}
}

/* The process ends by the signal, as soon as our handler returns. */
static void end_by(int number)
{
	struct rt_kernel_sigaction standard = {.handler = (void *)SIG_DFL};
	rt_syscall(SYS_rt_sigaction, number, &standard, NULL, sizeof(uint64_t));
	rt_sys_tgkill(rt_sys_getpid(), rt_sys_gettid(), number);
}

/* A signal of the program's own on our number: what the kernel would have done. Only, it stays unblocked in its handler. */
static void pass_on(int number, siginfo_t *info, ucontext_t *context)
{
	struct sigaction asked = rt_straggler_shadow;
	uint64_t mask, more;
	if (asked.sa_handler == SIG_DFL)
		end_by(number);
	if (asked.sa_handler == SIG_DFL || asked.sa_handler == SIG_IGN)
		return;
	if (asked.sa_flags & (int)SA_RESETHAND)
		rt_straggler_shadow.sa_handler = SIG_DFL;
	rt_mark_restarted_call(context->uc_mcontext.gregs);
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	memcpy(&more, &asked.sa_mask, sizeof(more));
	mask |= more & ~(1UL << (number - 1));
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
	if (asked.sa_flags & SA_SIGINFO)
		asked.sa_sigaction(number, info, context);
	else
		asked.sa_handler(number);
	rt_handler_returns(context, (asked.sa_flags & SA_RESTART) != 0);
}

static void handle_straggler_signal(int number, siginfo_t *info, void *context)
{
	if (!rt_straggler_is(info))
		pass_on(number, info, context);
	else if (!rt_can_be_stopped())
		return;
	else if (is_in_vdso(context))
		rt_thread_postpone();
	else
		stop_in_handler(context);
}

int rt_straggler_install(int signal, bool on_alternate_stack)
{
	struct rt_kernel_sigaction before;
	struct rt_kernel_sigaction action = {
		.handler = handle_straggler_signal,
		.flags = SA_SIGINFO | SA_RESTART | RT_SA_RESTORER | (on_alternate_stack ? SA_ONSTACK : 0),
		.restorer = rt_arch_signal_return,
		.mask = ~0UL,
	};
	int result = (int)rt_syscall(SYS_rt_sigaction, signal, &action, &before, sizeof(uint64_t));
	if (result == 0 && before.handler == (void *)SIG_IGN) /* inherited */
		rt_straggler_shadow.sa_handler = SIG_IGN;
	return result;
}

bool rt_straggler_ignore(struct rt_kernel_sigaction *kept)
{
	struct rt_kernel_sigaction ignore = {.handler = (void *)SIG_IGN};
	return rt_root.signal != 0 && rt_straggler_shadow.sa_handler == SIG_IGN &&
	       rt_syscall(SYS_rt_sigaction, rt_root.signal, &ignore, kept, sizeof(uint64_t)) == 0;
}

void rt_straggler_catch(const struct rt_kernel_sigaction *kept)
{
	rt_syscall(SYS_rt_sigaction, rt_root.signal, kept, NULL, sizeof(uint64_t));
}

int rt_straggler_send(int tid)
{
	siginfo_t info;
	memset(&info, 0, sizeof(info));
	info.si_signo = rt_root.signal;
	info.si_code = SI_QUEUE;
	info.si_pid = rt_root.pid;
	info.si_value.sival_ptr = STRAGGLER_COOKIE;
	return (int)rt_syscall(SYS_rt_tgsigqueueinfo, rt_root.pid, tid, rt_root.signal, &info);
}
