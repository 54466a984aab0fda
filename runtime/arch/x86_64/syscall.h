/*
 * Raw system calls for x86-64.
 *
 * Every system call of the runtime goes through here: no errno, no cancellation point, no libc.
 * The result is the kernel's: a value >= 0, or -errno.
 */
#ifndef RT_ARCH_SYSCALL_H
#define RT_ARCH_SYSCALL_H

static inline long rt_syscall6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define RT_SYSCALL_PICK(_0, _1, _2, _3, _4, _5, _6, NAME, ...) NAME
#define RT_SYSCALL0(n) rt_syscall6(n, 0, 0, 0, 0, 0, 0)
#define RT_SYSCALL1(n, a) rt_syscall6(n, (long)(a), 0, 0, 0, 0, 0)
#define RT_SYSCALL2(n, a, b) rt_syscall6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define RT_SYSCALL3(n, a, b, c) rt_syscall6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define RT_SYSCALL4(n, a, b, c, d) rt_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define RT_SYSCALL5(n, a, b, c, d, e) rt_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define RT_SYSCALL6(n, a, b, c, d, e, f) \
	rt_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* rt_syscall(number, up to six arguments of any integer or pointer type) */
#define rt_syscall(...)                                                                                            \
	RT_SYSCALL_PICK(__VA_ARGS__, RT_SYSCALL6, RT_SYSCALL5, RT_SYSCALL4, RT_SYSCALL3, RT_SYSCALL2, RT_SYSCALL1, \
			RT_SYSCALL0, 0)                                                                            \
	(__VA_ARGS__)

#endif
