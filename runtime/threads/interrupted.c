/* System calls that a signal interrupts; see interrupted.h. In signal handlers: raw system calls only. */
#include "interrupted.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <time.h>

#include "base/sys.h"
#include "base/uapi.h"
#include "thread.h"
#include "wait.h"

/* Not addresses of code. */
#define CALL_ENDED 0x7265737063744500L
#define CALL_AGAIN 0x7265737063744100L

#define SYSCALL_LENGTH 2 /* bytes of the instruction */

/* Bytes of stack between a wrapper's description and the system call, at most; less than a signal frame has, so that what a
 * handler has interrupted is further away. */
#define WRAPPER_DEPTH 1024

static bool is_syscall_instruction(const uint8_t *code)
{
	return code[0] == 0x0f && code[1] == 0x05;
}

bool rt_is_behind_call(const greg_t *registers)
{
	return registers[REG_RCX] == registers[REG_RIP] &&
	       is_syscall_instruction((const uint8_t *)registers[REG_RIP] - SYSCALL_LENGTH);
}

bool rt_is_before_call(const greg_t *registers, long number)
{
	return registers[REG_RAX] == number && is_syscall_instruction((const uint8_t *)registers[REG_RIP]);
}

/* One that siglongjmp() has left behind, or of the code that a handler has interrupted, is below the stack pointer or far
 * above it. */
struct rt_wait *rt_described_wait(const greg_t *registers)
{
	uint64_t stack_pointer = (uint64_t)registers[REG_RSP], wait = (uint64_t)rt_local.wait;
	return wait >= stack_pointer && wait - stack_pointer < WRAPPER_DEPTH ? rt_local.wait : NULL;
}

/*
 * Whether making the interrupted call again from its registers waits exactly as long as it would
 * have waited. True of calls that fail with EINTR after any handler (signal(7)) and whose timeout
 * is absolute, absent, or written back by the kernel; calls with a relative timeout need a
 * description by their wrapper. For the rest EINTR stands: none of them hides in libc, and a
 * wait that started anew at every checkpoint would never end.
 */
static bool can_restart(long number, const greg_t *registers, bool described)
{
	switch (number) {
	case SYS_ppoll:
	case SYS_select:
	case SYS_pselect6:
	case SYS_pause:
	case SYS_rt_sigsuspend:
	case SYS_msgrcv:
	case SYS_msgsnd:
	case SYS_semop: return true;
	case SYS_poll: return described || (int)registers[REG_RDX] <= 0;
	case SYS_epoll_wait:
	case SYS_epoll_pwait: return described || (int)registers[REG_R10] <= 0;
	case SYS_epoll_pwait2:
	case SYS_semtimedop:
	case SYS_rt_sigtimedwait: /* the timeout is in the third argument */
		return described || registers[number == SYS_rt_sigtimedwait ? REG_RDX : REG_R10] == 0;
	case SYS_clock_nanosleep: return described || (registers[REG_RSI] & TIMER_ABSTIME) != 0;
	case SYS_futex:
		return described || (registers[REG_RSI] & FUTEX_CMD_MASK) != FUTEX_WAIT || registers[REG_R10] == 0;
	default: return described;
	}
}

/* Calls that wait, are made again by the kernel with SA_RESTART, and fail with EINTR after a handler without. */
static bool waits_and_restarts(const greg_t *registers)
{
	int command = (int)registers[REG_RSI];
	switch (registers[REG_RAX]) {
	case SYS_read:
	case SYS_readv:
	case SYS_recvfrom:
	case SYS_recvmsg:
	case SYS_write:
	case SYS_writev:
	case SYS_sendto:
	case SYS_sendmsg:
	case SYS_accept:
	case SYS_accept4:
	case SYS_connect:
	case SYS_wait4:
	case SYS_waitid:
	case SYS_mq_timedsend:
	case SYS_mq_timedreceive:
	case SYS_flock: return true;
	case SYS_fcntl: return command == F_SETLKW || command == F_OFD_SETLKW;
	case SYS_futex:
		command &= FUTEX_CMD_MASK;
		return (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) && registers[REG_R10] == 0;
	default: return false;
	}
}

/*
 * The number of the call whose `syscall` instruction ends at `end`: from the instruction
 * `mov $number, %eax` before it, which compilers place at most a few bytes earlier. Wrappers
 * say it in rt_local.wait where it matters for the time that is left.
 */
static long decode_number(const uint8_t *end)
{
	for (const uint8_t *code = end - 7; code >= end - 16; code--) {
		uint32_t number;
		if (code[0] != 0xb8)
			continue;
		memcpy(&number, code + 1, sizeof(number));
		if (number < 1024)
			return number;
	}
	return NEVER_SYSCALL;
}

long rt_interrupted_call(const greg_t *registers)
{
	if (registers[REG_RAX] != -EINTR || !rt_is_behind_call(registers))
		return NEVER_SYSCALL;
	long number = decode_number((const uint8_t *)registers[REG_RIP]);
	const struct rt_wait *wait = rt_described_wait(registers);
	if (number == NEVER_SYSCALL && wait != NULL)
		number = wait->number;
	bool described = wait != NULL && wait->number == number && wait->kind != RT_WAIT_NUMBER;
	if (number == NEVER_SYSCALL || !can_restart(number, registers, described))
		return NEVER_SYSCALL;
	return number;
}

void rt_undo_restart_syscall(greg_t *registers)
{
	if (registers[REG_RCX] != registers[REG_RIP] + SYSCALL_LENGTH ||
	    !rt_is_before_call(registers, SYS_restart_syscall))
		return;
	registers[REG_RIP] += SYSCALL_LENGTH;
	registers[REG_RAX] = -EINTR;
}

void rt_make_call_again(greg_t *registers, long number)
{
	registers[REG_RIP] -= SYSCALL_LENGTH;
	registers[REG_RAX] = number;
	registers[REG_RCX] = CALL_AGAIN;
}

void rt_mark_restarted_call(greg_t *registers)
{
	if (registers[REG_RCX] == registers[REG_RIP] + SYSCALL_LENGTH &&
	    is_syscall_instruction((const uint8_t *)registers[REG_RIP]) && waits_and_restarts(registers))
		registers[REG_RCX] = CALL_AGAIN;
}

void rt_end_interrupted_call(greg_t *registers)
{
	if (rt_is_behind_call(registers))
		registers[REG_RCX] = CALL_ENDED;
}

void rt_end_restarted_call(greg_t *registers, bool always)
{
	if (registers[REG_RCX] != CALL_AGAIN || !is_syscall_instruction((const uint8_t *)registers[REG_RIP]))
		return;
	if (!always && waits_and_restarts(registers))
		return;
	registers[REG_RIP] += SYSCALL_LENGTH;
	registers[REG_RAX] = -EINTR;
	registers[REG_RCX] = CALL_ENDED;
}
