/* Parking, thread start and signal return; see context.h. */
#include <sys/syscall.h>

#include "context.h"

#define FUTEX_WAIT_PRIVATE 128
#define FUTEX_WAKE_PRIVATE 129

	.text

/* int rt_arch_park(rdi context, rsi parked_round, edx round, rcx events, r8 gate, r9 commanded) */
	.globl rt_arch_park
	.hidden rt_arch_park
	.type rt_arch_park, @function
	.p2align 4
rt_arch_park:
	.cfi_startproc
	RT_SAVE_CONTEXT
	.cfi_def_cfa_offset RT_CONTEXT_SIZE
	movq %rsp, (%rdi)
	movq %rdi, %rbx         /* context */
	movq %r9, %r15          /* commanded */
	movq %r8, %r12          /* gate */
	movl %edx, %r13d        /* round */
	movq %rcx, %r14         /* events */
	movl %edx, (%rsi)       /* parked: no memory write of ours after this one... */
	lock incl (%r14)        /* ...but this, which is not in the image */
	movq %r14, %rdi
	movl $FUTEX_WAKE_PRIVATE, %esi
	movl $1, %edx
	movl $SYS_futex, %eax
	syscall
1:	cmpl %r13d, (%r12)
	jne 2f
	cmpq %rbx, (%r15)
	je 3f
	movq %r12, %rdi
	movl $FUTEX_WAIT_PRIVATE, %esi
	movl %r13d, %edx
	xorl %r10d, %r10d
	movl $SYS_futex, %eax
	syscall
	jmp 1b
2:	xorl %eax, %eax         /* RT_PARK_RESUMED */
	RT_LOAD_CONTEXT_AND_RETURN
3:	movl $RT_PARK_COMMANDED, %eax
	RT_LOAD_CONTEXT_AND_RETURN
	.cfi_endproc
	.size rt_arch_park, . - rt_arch_park

/* int rt_arch_spawn(rdi flags, rsi stack_top, rdx tls, rcx entry, r8 argument) */
	.globl rt_arch_spawn
	.hidden rt_arch_spawn
	.type rt_arch_spawn, @function
	.p2align 4
rt_arch_spawn:
	.cfi_startproc
	andq $-16, %rsi
	movq %rcx, %r9
	movq %r8, %rax
	movq %rdx, %r8          /* tls: fifth argument of clone */
	subq $16, %rsi
	movq %r9, (%rsi)
	movq %rax, 8(%rsi)
	xorl %edx, %edx
	xorl %r10d, %r10d
	movl $SYS_clone, %eax
	syscall
	testq %rax, %rax
	jz 1f
	ret
1:	xorl %ebp, %ebp
	popq %rax
	popq %rdi
	call *%rax
	ud2
	.cfi_endproc
	.size rt_arch_spawn, . - rt_arch_spawn

	.globl rt_arch_signal_return
	.hidden rt_arch_signal_return
	.type rt_arch_signal_return, @function
	.p2align 4
	nop                     /* unwinders look one byte before the return address */
rt_arch_signal_return:
	movl $SYS_rt_sigreturn, %eax
	syscall
	.size rt_arch_signal_return, . - rt_arch_signal_return

	.section .note.GNU-stack,"",@progbits
