/*
 * What the program's signal handlers return by; see runtime/threads/handler.h.
 *
 * The handler's return instruction leads here with %rsp at the frame's struct ucontext, aligned to 16 bytes. All registers
 * are in it and come from there.
 *
 * Unwinders (of exceptions, of cancelled threads, of debuggers) pass through as through libc's: the registers of the
 * interrupted code are where the kernel has put them. Expressions, since they do not lie below a frame address.
 */
#include <sys/syscall.h>

#define GREGS 40 /* offset of uc_mcontext.gregs in ucontext_t */
#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
#define DW_OP_deref 0x06
#define DW_OP_breg7 0x77 /* relative to %rsp */

/* A register, by its number in DWARF (System V ABI, figure 3.36), is at this index of gregs. Offsets are of two bytes, in
 * signed LEB128. */
.macro IN_FRAME register, index
	.cfi_escape DW_CFA_expression, \register, 3, DW_OP_breg7, ((GREGS + 8 * \index) & 0x7f) | 0x80, \
		(GREGS + 8 * \index) >> 7
.endm

.macro HANDLER_RETURN name, restarts
	.globl \name
	.hidden \name
	.type \name, @function
	.p2align 4
	.cfi_startproc
	.cfi_signal_frame
	.cfi_escape DW_CFA_def_cfa_expression, 4, DW_OP_breg7, ((GREGS + 8 * 15) & 0x7f) | 0x80, (GREGS + 8 * 15) >> 7, \
		DW_OP_deref
	IN_FRAME 8, 0           /* r8 to r15 */
	IN_FRAME 9, 1
	IN_FRAME 10, 2
	IN_FRAME 11, 3
	IN_FRAME 12, 4
	IN_FRAME 13, 5
	IN_FRAME 14, 6
	IN_FRAME 15, 7
	IN_FRAME 5, 8           /* rdi */
	IN_FRAME 4, 9           /* rsi */
	IN_FRAME 6, 10          /* rbp */
	IN_FRAME 3, 11          /* rbx */
	IN_FRAME 1, 12          /* rdx */
	IN_FRAME 0, 13          /* rax */
	IN_FRAME 2, 14          /* rcx */
	IN_FRAME 7, 15          /* rsp */
	IN_FRAME 16, 16         /* rip */
	nop                     /* unwinders look one byte before the return address */
\name:
	movq %rsp, %rdi
	movl $\restarts, %esi
	call rt_handler_returns
	movl $SYS_rt_sigreturn, %eax
	syscall
	.cfi_endproc
	.size \name, . - \name
.endm

	.text
	HANDLER_RETURN rt_arch_handler_return, 0
	HANDLER_RETURN rt_arch_restarting_handler_return, 1

	.section .note.GNU-stack,"",@progbits
