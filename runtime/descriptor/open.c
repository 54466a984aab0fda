/*
 * Opening something in the stop, also where the program's table of descriptors is full: the soft limit is lifted for
 * that instant.
 */
#include <sys/resource.h>

#include "descriptor/table.h"

bool rt_descriptor_lift_limit(struct rlimit *soft)
{
	if (rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, soft) < 0 || soft->rlim_cur >= soft->rlim_max)
		return false;
	struct rlimit lifted = {.rlim_cur = soft->rlim_max, .rlim_max = soft->rlim_max};
	return rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &lifted, NULL) == 0;
}

int rt_descriptor_open_file(int directory, const char *path, int flags)
{
	struct rlimit limit;
	int fd = rt_sys_openat(directory, path, flags | O_CLOEXEC | O_NOCTTY, 0);
	if (fd != -EMFILE || !rt_descriptor_lift_limit(&limit))
		return fd;
	fd = rt_sys_openat(directory, path, flags | O_CLOEXEC | O_NOCTTY, 0);
	rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	return fd;
}

int rt_descriptor_open_pipe(int ends[2])
{
	struct rlimit limit;
	int result = (int)rt_syscall(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);
	if (result != -EMFILE || !rt_descriptor_lift_limit(&limit))
		return result;
	result = (int)rt_syscall(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);
	rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	return result;
}

int rt_descriptor_open_socket(int family, int type, int protocol)
{
	struct rlimit limit;
	int fd = (int)rt_syscall(SYS_socket, family, type, protocol);
	if (fd != -EMFILE || !rt_descriptor_lift_limit(&limit))
		return fd;
	fd = (int)rt_syscall(SYS_socket, family, type, protocol);
	rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &limit, NULL);
	return fd;
}
