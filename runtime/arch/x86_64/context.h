/*
 * The context of a parked thread, as rt_arch_park() leaves it on the thread's stack.
 *
 * Offsets from the published stack pointer, in bytes:
 *    0  mxcsr (4), x87 control word (2), padding (2)
 *    8  r15, 16 r14, 24 r13, 32 r12, 40 rbx, 48 rbp
 *   56  return address of rt_arch_park()'s caller
 * The System V ABI lets a call clobber everything else.
 */
#ifndef RT_ARCH_CONTEXT_H
#define RT_ARCH_CONTEXT_H

#define RT_CONTEXT_SIZE 64

/* What rt_arch_park() returns. */
#define RT_PARK_RESUMED 0   /* the gate opened */
#define RT_PARK_RESTORED 1  /* this is the restored process */
#define RT_PARK_COMMANDED 2 /* *commanded names this thread: it does what it is told and parks again */

#ifdef __ASSEMBLER__
/* clang-format off */

/* Saves the context; afterwards %rsp is the value to publish. */
.macro RT_SAVE_CONTEXT
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	subq $8, %rsp
	stmxcsr (%rsp)
	fnstcw 4(%rsp)
.endm

/* Takes the context at %rsp and returns to the caller of rt_arch_park(). */
.macro RT_LOAD_CONTEXT_AND_RETURN
	ldmxcsr (%rsp)
	fldcw 4(%rsp)
	addq $8, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
.endm

/* clang-format on */
#else

#include <stdint.h>

struct rt_thread;

/*
 * Publishes the calling thread's context (the stack pointer goes to *context), marks it parked
 * (*parked_round = round, then a wake-up on *events) and sleeps until *gate differs from
 * `round`, or *commanded is `context`. From the mark on it writes no memory at all, so that the
 * image does not change. Returns RT_PARK_. All signals must be blocked.
 */
int rt_arch_park(uint64_t *context, uint32_t *parked_round, uint32_t round, uint32_t *events, uint32_t *gate,
		 const uint64_t *commanded);

/*
 * Starts a thread of the runtime: clone(flags, stack_top) with the given TLS, calling
 * entry(argument), which must not return. Returns the tid or -errno.
 */
int rt_arch_spawn(unsigned long flags, void *stack_top, void *tls, void (*entry)(void *), void *argument);

/* The restorer (SA_RESTORER) of the runtime's own signal handlers. */
void rt_arch_signal_return(void);

/* The restorers of the program's handlers, without SA_RESTART and with: rt_handler_returns(), then rt_sigreturn. */
void rt_arch_handler_return(void);
void rt_arch_restarting_handler_return(void);

static inline uint64_t rt_arch_tls_base(void)
{
	uint64_t base;
	__asm__("movq %%fs:0, %0" : "=r"(base)); /* the TCB's self pointer, x86-64 psABI */
	return base;
}

static inline void rt_arch_pause(void)
{
	__asm__ volatile("pause");
}

#endif
#endif
