/* See composer.h. */
#include "composer.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "base/message.h"
#include "base/sys.h"
#include "links.h"

static int64_t to_ns(struct timespec time)
{
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

struct undo_composer rt_compose(struct undo_log *log, enum undo_kind kind, const struct stat *status)
{
	struct undo_composer composer = {.log = log, .used = sizeof(struct undo_record)};
	struct timespec now = {0};
	composer.place = rt_undo_log_room(log, sizeof(struct undo_record) + 2 * PATH_MAX, &composer.error);
	if (composer.place == NULL)
		return composer;
	rt_syscall(SYS_clock_gettime, CLOCK_REALTIME_COARSE, &now);
	composer.record = (struct undo_record){.kind = (uint32_t)kind, .time_ns = to_ns(now)};
	if (status == NULL)
		return composer;
	composer.record.device = status->st_dev;
	composer.record.inode = status->st_ino;
	composer.record.size = (uint64_t)status->st_size;
	composer.record.device_number = status->st_rdev;
	composer.record.mode = status->st_mode;
	composer.record.user = status->st_uid;
	composer.record.group = status->st_gid;
	composer.record.access_ns = to_ns(status->st_atim);
	composer.record.modify_ns = to_ns(status->st_mtim);
	return composer;
}

char *rt_compose_place(const struct undo_composer *composer)
{
	return composer->place + composer->used;
}

char *rt_composed_name(const struct undo_composer *composer)
{
	return composer->place + sizeof(struct undo_record);
}

void rt_compose_take(struct undo_composer *composer, long length)
{
	if (composer->error < 0)
		return;
	if (length <= 0 || length >= PATH_MAX) {
		composer->error = length < 0 ? (int)length : -ENAMETOOLONG;
		return;
	}
	rt_compose_place(composer)[length] = '\0';
	if (composer->record.path_length == 0)
		composer->record.path_length = (uint32_t)length + 1;
	else
		composer->record.target_length = (uint32_t)length + 1;
	composer->used += (size_t)length + 1;
}

static long read_fd_link(int fd, char *place)
{
	char link[32];
	rt_format(link, sizeof(link), "/proc/self/fd/%d", fd);
	return rt_syscall(SYS_readlink, link, place, PATH_MAX);
}

void rt_compose_fd_path(struct undo_composer *composer, int fd)
{
	if (composer->error == 0)
		rt_compose_take(composer, read_fd_link(fd, rt_compose_place(composer)));
}

uint64_t rt_parent_of(char *place, size_t length)
{
	struct stat status;
	size_t slash = length;
	while (slash > 1 && place[slash - 1] == '/')
		slash--;
	while (slash > 1 && place[slash - 1] != '/')
		slash--;
	char kept = place[slash];
	place[slash] = '\0';
	long result = rt_syscall(SYS_stat, place, &status);
	place[slash] = kept;
	return result < 0 ? 0 : status.st_ino;
}

long rt_make_absolute(char *place, int directory, const char *path)
{
	long base = 0;
	if (path[0] != '/') {
		base = directory == AT_FDCWD ? rt_syscall(SYS_getcwd, place, PATH_MAX) - 1
					     : read_fd_link(directory, place);
		if (base > 0 && base < PATH_MAX && place[base - 1] != '/')
			place[base++] = '/';
	}
	size_t length = strlen(path);
	if (base < 0 || (size_t)base + length >= PATH_MAX)
		return base < 0 ? base : -ENAMETOOLONG;
	memcpy(place + base, path, length + 1);
	return base + (long)length;
}

void rt_compose_path(struct undo_composer *composer, int directory, const char *path, uint64_t *parent)
{
	if (composer->error < 0)
		return;
	long length = rt_make_absolute(rt_compose_place(composer), directory, path);
	if (length >= 0)
		*parent = rt_parent_of(rt_compose_place(composer), (size_t)length);
	rt_compose_take(composer, length);
}

void rt_compose_other_name(struct undo_composer *composer, const struct stat *status)
{
	const char *other = rt_links_other(status->st_dev, status->st_ino, rt_composed_name(composer));
	if (composer->error < 0 || other == NULL)
		return;
	size_t length = strlen(other);
	memcpy(rt_compose_place(composer), other, length);
	rt_compose_take(composer, (long)length);
}

char *rt_compose_data(struct undo_composer *composer, uint64_t bytes)
{
	if (composer->error < 0)
		return NULL;
	size_t offset = undo_data_offset(&composer->record);
	if (bytes > UNDO_LOG_BYTES)
		composer->error = -EFBIG;
	else
		rt_undo_log_room(composer->log, offset + bytes + 8, &composer->error);
	return composer->error < 0 ? NULL : composer->place + offset;
}

int rt_compose_end(struct undo_composer *composer)
{
	struct undo_record *record = &composer->record;
	if (composer->error < 0)
		return composer->error;
	size_t end = undo_data_offset(record) + record->data_length;
	memset(composer->place + end, 0, -end & 7);
	record->length = (end + 7) & ~(size_t)7;
	return rt_undo_log_append(composer->log, record);
}
