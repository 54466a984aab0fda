/*
 * Work with descriptors that the program must not notice: in a thread of its own, with a descriptor table of
 * its own. In the program's table a descriptor that is opened takes a number another thread might have got,
 * and one that is closed releases all POSIX locks that the process has on its file.
 */
#ifndef RT_ASIDE_H
#define RT_ASIDE_H

#include <stddef.h>

enum rt_aside {
	RT_ASIDE_COPY,  /* the thread has a copy of the caller's table */
	RT_ASIDE_SHARE, /* it begins in the caller's, and leaves it by close_range(CLOSE_RANGE_UNSHARE): less
			   is copied */
};

/*
 * Runs `work` and waits for its end. It gets all signals blocked, runs on `stack` (`size` bytes, of the
 * runtime's memory), has no TLS, and makes raw system calls only. 0 or -errno: it was not run. Any thread, in
 * the stop too.
 */
int rt_run_aside(char *stack, size_t size, enum rt_aside how, void (*work)(void *argument), void *argument);

#endif
