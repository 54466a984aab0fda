/*
 * System calls that a signal has interrupted: what a stop makes of them, and what a handler of the program's does that
 * comes at the same time. Registers and code are made up.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "runtime/threads/handler.h"
#include "runtime/threads/interrupted.h"
#include "runtime/threads/wait.h"

#include "random.h"

__thread struct rt_local rt_local; /* thread.c has it in the runtime */

static uint8_t code[32];

#define BEHIND ((greg_t)(code + 7)) /* behind mov $number, %eax; syscall */
#define BEFORE ((greg_t)(code + 5))

static void put_call(uint32_t number)
{
	memset(code, 0x90, sizeof(code));
	code[0] = 0xb8;
	memcpy(code + 1, &number, sizeof(number));
	code[5] = 0x0f;
	code[6] = 0x05;
}

/* As the kernel leaves them when a signal has ended the call. */
static ucontext_t come_out(uint32_t number, greg_t result)
{
	ucontext_t context = {0};
	greg_t *registers = context.uc_mcontext.gregs;
	put_call(number);
	registers[REG_RIP] = registers[REG_RCX] = BEHIND;
	registers[REG_RAX] = result;
	registers[REG_RSP] = (greg_t)&context;
	return context;
}

/* As it leaves them when it will make the call again. */
static ucontext_t go_back(uint32_t number)
{
	ucontext_t context = come_out(number, 0);
	context.uc_mcontext.gregs[REG_RIP] = BEFORE;
	context.uc_mcontext.gregs[REG_RAX] = number;
	return context;
}

static void assert_ended(const ucontext_t *context)
{
	cr_assert_eq(context->uc_mcontext.gregs[REG_RIP], BEHIND);
	cr_assert_eq(context->uc_mcontext.gregs[REG_RAX], -EINTR);
	cr_assert_eq(rt_interrupted_call(context->uc_mcontext.gregs), NEVER_SYSCALL);
}

static void assert_made_again(const ucontext_t *context, greg_t number)
{
	cr_assert_eq(context->uc_mcontext.gregs[REG_RIP], BEFORE);
	cr_assert_eq(context->uc_mcontext.gregs[REG_RAX], number);
}

Test(interrupted, a_stop_alone_has_the_call_made_again)
{
	ucontext_t context = come_out(SYS_pause, -EINTR);
	greg_t *registers = context.uc_mcontext.gregs;
	cr_assert_eq(rt_interrupted_call(registers), SYS_pause);
	rt_make_call_again(registers, SYS_pause);
	assert_made_again(&context, SYS_pause);
	/* Another stop before it is. */
	cr_assert_eq(rt_interrupted_call(registers), NEVER_SYSCALL);
	rt_mark_restarted_call(registers);
	assert_made_again(&context, SYS_pause);
}

Test(interrupted, a_stop_while_a_handler_returns_leaves_the_call_ended)
{
	for (int restarts = 0; restarts < 2; restarts++) {
		ucontext_t context = come_out(SYS_pause, -EINTR);
		rt_handler_returns(&context, restarts);
		assert_ended(&context);
		/* And once more, when a second handler has run. */
		rt_handler_returns(&context, restarts);
		assert_ended(&context);
	}
}

Test(interrupted, a_handler_ends_a_call_that_is_about_to_be_made_again)
{
	for (int restarts = 0; restarts < 2; restarts++) {
		ucontext_t context = come_out(SYS_ppoll, -EINTR);
		rt_make_call_again(context.uc_mcontext.gregs, SYS_ppoll);
		rt_handler_returns(&context, restarts);
		assert_ended(&context);
	}
}

Test(interrupted, a_handler_with_restart_leaves_what_the_kernel_restarts)
{
	static const struct {
		uint32_t number;
		greg_t second;
	} calls[] = {{SYS_read, 0},
		     {SYS_sendmsg, 0},
		     {SYS_flock, 0},
		     {SYS_fcntl, F_SETLKW},
		     {SYS_fcntl, F_OFD_SETLKW},
		     {SYS_futex, FUTEX_WAIT_PRIVATE},
		     {SYS_futex, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME}};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		ucontext_t context = go_back(calls[i].number);
		greg_t *registers = context.uc_mcontext.gregs;
		registers[REG_RSI] = calls[i].second;
		rt_mark_restarted_call(registers);
		rt_handler_returns(&context, true);
		assert_made_again(&context, calls[i].number);
		rt_handler_returns(&context, false);
		assert_ended(&context);
	}
}

/* As after SIGCONT. */
Test(interrupted, a_stop_has_what_restart_syscall_goes_on_with_made_again)
{
	ucontext_t context = go_back(SYS_ppoll);
	greg_t *registers = context.uc_mcontext.gregs;
	registers[REG_RAX] = SYS_restart_syscall;
	rt_undo_restart_syscall(registers);
	cr_assert_eq(rt_interrupted_call(registers), SYS_ppoll);
	/* Others are let be. */
	ucontext_t other = go_back(SYS_ppoll);
	rt_undo_restart_syscall(other.uc_mcontext.gregs);
	assert_made_again(&other, SYS_ppoll);
}

/* A call that has not begun, of which a handler knows nothing. */
Test(interrupted, a_handler_leaves_calls_that_no_stop_has_interrupted)
{
	ucontext_t context = go_back(SYS_read);
	greg_t *registers = context.uc_mcontext.gregs;
	registers[REG_RCX] = 17;
	rt_mark_restarted_call(registers);
	rt_handler_returns(&context, false);
	assert_made_again(&context, SYS_read);
	cr_assert_eq(registers[REG_RCX], 17);
}

Test(interrupted, calls_that_never_wait_are_left_alone)
{
	ucontext_t locking = go_back(SYS_futex);
	locking.uc_mcontext.gregs[REG_RSI] = FUTEX_LOCK_PI_PRIVATE;
	rt_mark_restarted_call(locking.uc_mcontext.gregs);
	rt_handler_returns(&locking, false);
	assert_made_again(&locking, SYS_futex);
	ucontext_t command = go_back(SYS_fcntl);
	command.uc_mcontext.gregs[REG_RSI] = F_GETFL;
	rt_mark_restarted_call(command.uc_mcontext.gregs);
	rt_handler_returns(&command, false);
	assert_made_again(&command, SYS_fcntl);
}

/* RIP need not be an address then, so nothing is read there. */
Test(interrupted, a_handler_that_goes_elsewhere_is_let_go)
{
	ucontext_t context = come_out(SYS_pause, -EINTR);
	greg_t *registers = context.uc_mcontext.gregs;
	for (int i = 0; i < 1000; i++) {
		greg_t to = (greg_t)next_random();
		registers[REG_RIP] = to;
		rt_handler_returns(&context, i % 2);
		cr_assert_eq(registers[REG_RIP], to);
		cr_assert_eq(registers[REG_RCX], BEHIND);
	}
}

Test(interrupted, what_a_handler_ends_gives_no_more)
{
	ucontext_t context = come_out(SYS_write, 100);
	cr_assert(rt_is_behind_call(context.uc_mcontext.gregs));
	rt_local.cut_short = true;
	rt_handler_returns(&context, true);
	cr_assert_not(rt_local.cut_short);
	cr_assert_not(rt_is_behind_call(context.uc_mcontext.gregs));
	cr_assert_eq(context.uc_mcontext.gregs[REG_RAX], 100);
}

Test(interrupted, only_descriptions_of_this_call_count)
{
	struct {
		uint8_t below[16];
		struct rt_wait wait;
		uint8_t above[8192];
	} stack;
	ucontext_t context = come_out(SYS_poll, -EINTR);
	greg_t *registers = context.uc_mcontext.gregs;
	registers[REG_RDX] = 1000; /* milliseconds, which only a wrapper may have made again */
	stack.wait = (struct rt_wait){.number = SYS_poll, .kind = RT_WAIT_MILLISECONDS, .interrupted = true};
	rt_local.wait = &stack.wait;
	registers[REG_RSP] = (greg_t)stack.below;
	cr_assert_eq(rt_interrupted_call(registers), SYS_poll);
	/* Left behind on a part of the stack that is no longer in use. */
	registers[REG_RSP] = (greg_t)stack.above;
	cr_assert_eq(rt_interrupted_call(registers), NEVER_SYSCALL);
	rt_handler_returns(&context, false);
	cr_assert(stack.wait.interrupted);
	/* Of another stack, or far away. */
	registers[REG_RSP] = (greg_t)&stack.wait - 1024;
	cr_assert_null(rt_described_wait(registers));
	/* A handler ends the wrapper's wait, too. */
	registers[REG_RSP] = (greg_t)stack.below;
	rt_handler_returns(&context, false);
	cr_assert_not(stack.wait.interrupted);
}
