/* How a program becomes a daemon; runtime/daemon.h has what comes of it. And how it locks itself up. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daemon.h"
#include "next.h"
#include "root.h"

SHIM_EXPORT pid_t setsid(void)
{
	pid_t session = SHIM_NEXT(setsid)();
	int saved = errno;
	if (session >= 0)
		rt_become_daemon();
	errno = saved;
	return session;
}

/* The store and all files of the process have other names from then on. */
SHIM_EXPORT int chroot(const char *path)
{
	int result = SHIM_NEXT(chroot)(path);
	if (result == 0 && strcmp(path, "/") != 0)
		rt_root.root_changed = 1;
	return result;
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
