/* Where the runtime is started, ended and left behind in children. */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files/async_io.h"
#include "life/daemon.h"
#include "life/start.h"
#include "next.h"
#include "system_call.h"
#include "threads/stack.h"
#include "threads/thread.h"

#define EXIT_STATUS(code) (((code)&0xff) << 8) /* as wait(2) encodes it */

/* Runs last of all exit handlers, as it is registered first. */
static void finish_at_exit(int code, void *unused)
{
	(void)unused;
	if (!rt_is_protected())
		return;
	/* What the program printed belongs to the run that has ended well. */
	fflush(NULL);
	rt_finish(EXIT_STATUS(code));
}

static int quick_exit_code;

/* The same for quick_exit(). */
static void finish_at_quick_exit(void)
{
	rt_finish(EXIT_STATUS(quick_exit_code));
}

__attribute__((constructor)) static void start_runtime(void)
{
	rt_start();
	if (rt_root.signal == 0) /* neither protected nor standing by */
		return;
	/* The first is the last to prepare. */
	pthread_atfork(stack_prepare_fork, stack_after_fork, stack_after_fork);
	pthread_atfork(rt_prepare_fork, rt_after_fork, rt_enter_child);
	on_exit(finish_at_exit, NULL);
	at_quick_exit(finish_at_quick_exit);
}

SHIM_EXPORT void _exit(int code)
{
	rt_finish(EXIT_STATUS(code));
	SHIM_NEXT(_exit)(code);
	__builtin_unreachable();
}

SHIM_EXPORT void _Exit(int code)
{
	_exit(code);
}

SHIM_EXPORT void quick_exit(int code)
{
	quick_exit_code = code;
	SHIM_NEXT(quick_exit)(code);
	__builtin_unreachable();
}

/* Programs that leave by the system call; the rest is passed on. */
/* syscall(2) itself: what ends the process, what waits, and what has no other name: futexes, asynchronous I/O. */
SHIM_EXPORT long syscall(long number, ...)
{
	va_list list;
	long arguments[6];
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_exit_group)
		rt_finish(EXIT_STATUS(arguments[0]));
	if (number == SYS_futex)
		return shim_futex(arguments);
	if (shim_denies_async_io(number)) {
		errno = ENOSYS;
		return -1;
	}
	return shim_system_call(number, arguments);
}
