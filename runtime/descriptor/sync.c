/*
 * With durability `power`: what the program has written to files that it has open is made durable before
 * the checkpoint that says how long they are.
 */
#include <errno.h>
#include <string.h>

#include "base/aside.h"
#include "base/memory.h"
#include "base/sys.h"
#include "descriptor/table.h"

#define STACK_BYTES (32 * 1024)
#define TIMES_ARE_COARSE_NS 20000000 /* a write so soon after another one may leave no trace in st_ctim */

struct sync {
	struct descriptor_table *table;
	int64_t now_ns; /* CLOCK_REALTIME when it began */
	int result;
};

static bool is_written(const struct descriptor *descriptor)
{
	return descriptor->kind == DESCRIPTOR_REGULAR && S_ISREG(descriptor->mode) &&
	       (descriptor->flags & O_ACCMODE) != O_RDONLY && !(descriptor->flags & O_PATH);
}

static bool needs_sync(const struct descriptor *descriptor)
{
	return is_written(descriptor) &&
	       (descriptor->synced_ns != descriptor->changed_ns || descriptor->synced_size != descriptor->size);
}

static bool is_same_file(int fd, const struct descriptor *descriptor)
{
	struct stat status;
	return rt_sys_fstat(fd, &status) == 0 && status.st_dev == descriptor->device &&
	       status.st_ino == descriptor->inode;
}

/*
 * Opened anew where that is possible: an error in writing is reported once through each open file
 * description, and the program is to get its own. The program may have closed or renamed the file by now;
 * when neither its name nor its number leads to it, everything is written.
 */
static int sync_file(const struct descriptor_table *table, const struct descriptor *descriptor)
{
	const char *name = rt_descriptor_name(table, descriptor);
	int fd = rt_sys_openat(AT_FDCWD, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
	int error = 0;
	if (fd >= 0 && is_same_file(fd, descriptor))
		error = (int)rt_syscall(SYS_fdatasync, fd);
	else if (is_same_file(descriptor->number, descriptor))
		error = (int)rt_syscall(SYS_fdatasync, descriptor->number);
	else
		rt_syscall(SYS_sync);
	if (fd >= 0)
		rt_sys_close(fd);
	return error == -EINVAL || error == -EROFS ? 0 : error; /* a file system that has nothing to sync */
}

static void sync_all(void *argument)
{
	struct sync *sync = argument;
	for (size_t i = 0; i < sync->table->count; i++) {
		struct descriptor *descriptor = &sync->table->entries[i];
		if (!needs_sync(descriptor))
			continue;
		int error = sync_file(sync->table, descriptor);
		if (error < 0) {
			sync->result = error;
			continue;
		}
		bool settled = sync->now_ns - descriptor->changed_ns > TIMES_ARE_COARSE_NS;
		descriptor->synced_ns = settled ? descriptor->changed_ns : 0;
		descriptor->synced_size = descriptor->size;
	}
}

int rt_descriptors_sync(struct descriptor_table *table)
{
	size_t i = 0;
	while (i < table->count && !needs_sync(&table->entries[i]))
		i++;
	if (i == table->count)
		return 0;
	struct timespec now;
	rt_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	struct sync sync = {.table = table, .now_ns = now.tv_sec * 1000000000L + now.tv_nsec};
	char *stack = rt_memory_map(STACK_BYTES);
	if (stack == NULL)
		return -ENOMEM;
	int result = rt_run_aside(stack, STACK_BYTES, RT_ASIDE_COPY, sync_all, &sync);
	rt_memory_unmap(stack, STACK_BYTES);
	return result < 0 ? result : sync.result;
}
