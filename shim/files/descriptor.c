/* Descriptors: the runtime's own survive programs that close everything, and are never handed out. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hidden.h"
#include "descriptor/descriptor.h"
#include "root.h"
#include "shim/next.h"

static int bad_descriptor(void)
{
	errno = EBADF;
	return -1;
}

SHIM_EXPORT int close(int fd)
{
	return rt_is_hidden(fd) ? bad_descriptor() : SHIM_NEXT(close)(fd);
}

SHIM_EXPORT int dup2(int from, int to)
{
	return rt_is_hidden(from) || rt_is_hidden(to) ? bad_descriptor() : SHIM_NEXT(dup2)(from, to);
}

SHIM_EXPORT int dup3(int from, int to, int flags)
{
	return rt_is_hidden(from) || rt_is_hidden(to) ? bad_descriptor() : SHIM_NEXT(dup3)(from, to, flags);
}

/* The range in pieces, around what is hidden. */
SHIM_EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	while (first <= last) {
		int hidden = first <= INT_MAX ? rt_next_hidden((int)first) : -1;
		if (hidden < 0 || (unsigned int)hidden > last)
			return SHIM_NEXT(close_range)(first, last, flags);
		if ((unsigned int)hidden > first) {
			int result = SHIM_NEXT(close_range)(first, (unsigned int)hidden - 1, flags);
			if (result < 0)
				return result;
		}
		first = (unsigned int)hidden + 1;
	}
	return 0;
}

SHIM_EXPORT void closefrom(int lowest)
{
	close_range(lowest < 0 ? 0 : (unsigned int)lowest, UINT_MAX, 0);
}

/* The kernel does not tell later which two sockets belong together. */
SHIM_EXPORT int socketpair(int domain, int type, int protocol, int fds[2])
{
	int result = SHIM_NEXT(socketpair)(domain, type, protocol, fds);
	struct stat a, b;
	int saved = errno;
	if (result == 0 && fstat(fds[0], &a) == 0 && fstat(fds[1], &b) == 0)
		rt_descriptors_note_pair(a.st_ino, b.st_ino);
	errno = saved;
	return result;
}

/* The kernel tells later which inode is watched, but not by what path. */
SHIM_EXPORT int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
	int result = SHIM_NEXT(inotify_add_watch)(fd, path, mask);
	struct stat status;
	int saved = errno;
	char *absolute = result >= 0 && rt_root.engine != NULL ? realpath(path, NULL) : NULL;
	/* The link itself, when it is not to be followed: its directory has no link in it then. */
	const char *noted = (mask & IN_DONT_FOLLOW) && path[0] == '/' ? path : absolute;
	if (absolute != NULL && fstatat(AT_FDCWD, noted, &status, AT_SYMLINK_NOFOLLOW) == 0)
		rt_descriptors_note_watch(status.st_dev, status.st_ino, noted);
	free(absolute);
	errno = saved;
	return result;
}
