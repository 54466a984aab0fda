/* See read_aside.h. */
#include "read_aside.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sys/stat.h>

#include "base/aside.h"
#include "base/message.h"
#include "base/sys.h"

int64_t rt_read_at(int fd, char *data, uint64_t offset, uint64_t length)
{
	uint64_t done = 0;
	while (done < length) {
		ssize_t part = rt_sys_pread(fd, data + done, length - done, (off_t)(offset + done));
		if (part == 0)
			break;
		if (part < 0)
			return part;
		done += (uint64_t)part;
	}
	return (int64_t)done;
}

static int64_t read_here(struct rt_reading *reading)
{
	char own[32];
	struct stat status;
	/* A table of our own: only what is needed to find the file is copied. */
	unsigned first = reading->directory >= 0 ? (unsigned)reading->directory + 1 : 0;
	int64_t result = rt_syscall(SYS_close_range, first, ~0U, CLOSE_RANGE_UNSHARE);
	if (result < 0)
		return result;
	rt_format(own, sizeof(own), "/proc/thread-self/fd/%d", reading->directory);
	int fd = rt_sys_openat(reading->directory, reading->path != NULL ? reading->path : own,
			       O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	result = rt_sys_fstat(fd, &status);
	if (result < 0 || !S_ISREG(status.st_mode))
		return result < 0 ? result : -EINVAL;
	if (reading->link != NULL) {
		rt_format(own, sizeof(own), "/proc/thread-self/fd/%d", fd);
		result = rt_syscall(SYS_readlink, own, reading->link, PATH_MAX - 1);
		if (result < 0)
			return result;
		reading->link_length = result;
	}
	return rt_read_at(fd, reading->data, reading->offset, reading->capacity);
}

static void read_alone(void *argument)
{
	struct rt_reading *reading = argument;
	reading->result = read_here(reading);
}

void rt_read_aside(char *stack, struct rt_reading *reading)
{
	int result = rt_run_aside(stack, RT_READ_ASIDE_STACK, RT_ASIDE_SHARE, read_alone, reading);
	if (result < 0)
		reading->result = result;
	/* Not by that thread: the log may have been cut, and it has all signals blocked. */
	if (reading->link_length > 0)
		reading->link[reading->link_length] = '\0';
}
