/* How a program becomes a daemon; runtime/life/daemon.h has what comes of it. And how it locks itself up. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/message.h"
#include "life/daemon.h"
#include "life/pause.h"
#include "life/start.h"
#include "memory/window.h"
#include "next.h"
#include "root.h"

#define NAMESPACES                                                                                                   \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | \
	 CLONE_NEWTIME)

SHIM_EXPORT pid_t setsid(void)
{
	pid_t session = SHIM_NEXT(setsid)();
	int saved = errno;
	if (session >= 0)
		rt_become_daemon();
	errno = saved;
	return session;
}

/* The store and all files of the process have other names from then on: no stop may come before that is noted. */
SHIM_EXPORT int chroot(const char *path)
{
	uint64_t mask = rt_block_stops();
	int result = SHIM_NEXT(chroot)(path);
	if (result == 0 && strcmp(path, "/") != 0)
		rt_root.root_changed = 1;
	rt_unblock_stops(mask);
	return result;
}

/* Said once in the life of the program. */
static void tell_of_namespaces(void)
{
	static int told;
	if (rt_is_protected() && __atomic_exchange_n(&told, 1, __ATOMIC_RELAXED) == 0)
		rt_say("the program has entered other namespaces: after a restore it is in those of respct-restore");
}

/*
 * Calls that the kernel refuses to a process of several threads: the checkpoint thread is not to count. Where the
 * program itself has several, it is refused all the same, and nobody is stopped: they might do it at the same time.
 */
#define WITHOUT_CHECKPOINTS(alone, call)                         \
	({                                                       \
		bool pause_ = (alone) && __libc_single_threaded; \
		if (pause_)                                      \
			rt_pause_checkpoints();                  \
		int result_ = (call);                            \
		int saved_ = errno;                              \
		if (pause_)                                      \
			rt_checkpoints_go_on();                  \
		if (result_ == 0)                                \
			tell_of_namespaces();                    \
		errno = saved_;                                  \
		result_;                                         \
	})

SHIM_EXPORT int unshare(int flags)
{
	int alone = flags & (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM);
	if ((flags & NAMESPACES) == 0 && !alone)
		return SHIM_NEXT(unshare)(flags);
	return WITHOUT_CHECKPOINTS(alone, SHIM_NEXT(unshare)(flags));
}

/* With 0 the descriptor alone says which namespace. */
SHIM_EXPORT int setns(int fd, int flags)
{
	int alone = flags == 0 || (flags & CLONE_NEWUSER);
	return WITHOUT_CHECKPOINTS(alone, SHIM_NEXT(setns)(fd, flags));
}

/* /dev/null in place of the standard descriptors, if it is the real one. */
static int detach_output(void)
{
	struct stat status;
	int null = open("/dev/null", O_RDWR);
	if (null < 0)
		return -1;
	if (fstat(null, &status) < 0 || !S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3)) {
		close(null);
		errno = ENODEV;
		return -1;
	}
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
	return 0;
}

/* As daemon(3) has it; libc's own would go past fork(), _exit() and setsid() of the shim. */
SHIM_EXPORT int daemon(int keep_directory, int keep_output)
{
	pid_t child = fork();
	if (child < 0)
		return -1;
	if (child > 0)
		_exit(0);
	if (setsid() < 0)
		return -1;
	if (!keep_directory && chdir("/") < 0)
		return -1;
	return keep_output ? 0 : detach_output();
}
