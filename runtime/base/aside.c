/* See aside.h. */
#include "aside.h"

#include <linux/futex.h>
#include <sched.h>

#include "arch/x86_64/context.h"
#include "sys.h"

struct aside {
	void (*work)(void *argument);
	void *argument;
	uint32_t running;
};

static void aside_thread(void *argument)
{
	struct aside *aside = argument;
	/* At the thread's end the kernel clears the word and wakes who waits for it. */
	rt_syscall(SYS_set_tid_address, &aside->running);
	aside->work(aside->argument);
	for (;;)
		rt_syscall(SYS_exit, 0);
}

int rt_run_aside(char *stack, size_t size, enum rt_aside how, void (*work)(void *argument), void *argument)
{
	struct aside aside = {work, argument, 1};
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	uint64_t all = ~0UL, mask = 0;
	uint32_t running;
	/* One that is sent is not for a thread that nobody knows. */
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &mask, sizeof(all));
	int tid = rt_arch_spawn(how == RT_ASIDE_SHARE ? flags | CLONE_FILES : flags, stack + size, NULL, aside_thread,
				&aside);
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
	while (tid >= 0 && (running = __atomic_load_n(&aside.running, __ATOMIC_ACQUIRE)) != 0)
		rt_syscall(SYS_futex, &aside.running, FUTEX_WAIT, running, NULL, NULL, 0);
	return tid < 0 ? tid : 0;
}
