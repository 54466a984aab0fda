/* Where the runtime is started, ended and left behind in children. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "next.h"
#include "start.h"

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

__attribute__((constructor)) static void start_runtime(void)
{
	rt_start();
	if (!rt_is_protected())
		return;
	pthread_atfork(rt_note_fork, NULL, rt_leave_child);
	on_exit(finish_at_exit, NULL);
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

static int quick_exit_code;

static void finish_at_quick_exit(void)
{
	rt_finish(EXIT_STATUS(quick_exit_code));
}

SHIM_EXPORT void quick_exit(int code)
{
	quick_exit_code = code;
	at_quick_exit(finish_at_quick_exit);
	SHIM_NEXT(quick_exit)(code);
	__builtin_unreachable();
}
