/* Entry of the restorer, thread creation, and the jump into a context; see runtime/arch/x86_64/context.h. */
#include <sys/syscall.h>

#include "arch/x86_64/context.h"

	.section .text.start, "ax", @progbits
	.globl restorer_start
restorer_start:                         /* rdi: plan, rsi: stack top */
	movq %rsi, %rsp
	xorl %ebp, %ebp
	call restorer_main
	ud2

	.text
/* long restorer_clone(rdi clone_args, rsi size, rdx entry, rcx argument) */
	.globl restorer_clone
restorer_clone:
	movq %rdx, %r8
	movq %rcx, %r9
	movl $SYS_clone3, %eax
	syscall
	testq %rax, %rax
	jz 1f
	ret
1:	xorl %ebp, %ebp
	movq %r9, %rdi
	call *%r8
	ud2

/* void restorer_enter(rdi context): into the image, as rt_arch_park() returning 1 */
	.globl restorer_enter
restorer_enter:
	movq %rdi, %rsp
	movl $1, %eax
	RT_LOAD_CONTEXT_AND_RETURN

	.section .note.GNU-stack,"",@progbits
