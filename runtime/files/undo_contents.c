/*
 * Saving the contents of files before they are overwritten or cut; see undo_state.h.
 *
 * Raw system calls only, and little stack: paths and contents go straight into the log.
 */
#include "undo_state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "composer.h"
#include "read_aside.h"

static bool is_new(struct rt_undo *undo, const struct stat *status)
{
	return rt_seen_look_up(&undo->seen, status)->created;
}

int rt_undo_name_file(struct rt_undo *undo, int fd, const struct stat *status)
{
	struct rt_seen *seen = rt_seen_look_up(&undo->seen, status);
	if (seen->named)
		return 0;
	struct undo_composer composer = rt_compose(&undo->log, UNDO_FILE, status);
	rt_compose_fd_path(&composer, fd);
	int result = rt_compose_end(&composer);
	seen->named = result == 0;
	return result;
}

/* Saves [start, end) of a file that is open under `fd`. */
static int save_bytes(struct rt_undo *undo, int fd, const struct stat *status, uint64_t start, uint64_t end)
{
	int result = rt_undo_name_file(undo, fd, status);
	if (result < 0 || start >= end)
		return result;
	struct undo_composer composer = rt_compose(&undo->log, UNDO_BYTES, status);
	char *data = rt_compose_data(&composer, end - start);
	if (data == NULL)
		return composer.error;
	int64_t got = rt_read_at(fd, data, start, end - start);
	if (got == -EBADF || got == -EINVAL) { /* O_WRONLY, O_DIRECT */
		struct rt_reading reading = {.directory = fd, .data = data, .offset = start, .capacity = end - start};
		rt_read_aside(undo->aside_stack, &reading);
		got = reading.result;
	}
	if (got < 0)
		return (int)got;
	composer.record.offset = start;
	composer.record.data_length = (uint64_t)got;
	return rt_compose_end(&composer);
}

int rt_undo_save_by_path(struct rt_undo *undo, const struct rt_undo_request *request, const struct stat *status,
			 uint64_t start)
{
	uint64_t size = (uint64_t)status->st_size;
	struct rt_seen *seen = rt_seen_look_up(&undo->seen, status);
	if (seen->created)
		return 0;
	/* The call itself will fail. */
	if (rt_syscall(SYS_faccessat2, request->directory, request->path, W_OK, AT_EACCESS) < 0)
		return -ENOENT;
	if (start > size)
		start = size;
	struct undo_composer composer = rt_compose(&undo->log, UNDO_FILE, status);
	if (composer.error < 0)
		return composer.error;
	/* Behind what this record can become, so that both can be made from one reading. */
	size_t apart = sizeof(struct undo_record) + PATH_MAX;
	rt_undo_log_room(&undo->log, 2 * apart + size - start, &composer.error);
	if (composer.error < 0)
		return composer.error;
	char *data = composer.place + 2 * apart;
	struct rt_reading reading = {.directory = request->directory,
				     .path = request->path,
				     .link = rt_compose_place(&composer),
				     .data = data,
				     .offset = start,
				     .capacity = size - start};
	rt_read_aside(undo->aside_stack, &reading);
	if (reading.result < 0)
		return (int)reading.result;
	rt_compose_take(&composer, (long)strlen(rt_compose_place(&composer)));
	int result = rt_compose_end(&composer);
	seen->named = result == 0;
	if (result < 0 || reading.result == 0)
		return result;
	composer = rt_compose(&undo->log, UNDO_BYTES, status);
	char *place = rt_compose_data(&composer, (uint64_t)reading.result);
	if (place == NULL)
		return composer.error;
	memmove(place, data, (size_t)reading.result);
	composer.record.offset = start;
	composer.record.data_length = (uint64_t)reading.result;
	return rt_compose_end(&composer);
}

int rt_undo_stat_regular(int fd, struct stat *status)
{
	int result = rt_sys_fstat(fd, status);
	if (result < 0)
		return result;
	/* Without a name it comes back with its contents, or not at all. */
	return S_ISREG(status->st_mode) && status->st_nlink > 0 ? 0 : -ENOENT;
}

int rt_undo_save_overwritten(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	int64_t offset = request->offset;
	if (rt_undo_stat_regular(request->fd, &status) < 0)
		return -ENOENT;
	if (offset == RT_UNDO_HERE)
		offset = rt_sys_lseek(request->fd, 0, SEEK_CUR);
	uint64_t start = (uint64_t)offset, size = (uint64_t)status.st_size;
	if (offset < 0 || start >= size)
		return -ENOENT;
	/* pwrite() appends, too, with O_APPEND */
	if (rt_sys_fcntl(request->fd, F_GETFL, 0) & O_APPEND)
		return -ENOENT;
	if (is_new(undo, &status))
		return 0;
	return save_bytes(undo, request->fd, &status, start,
			  request->length < size - start ? start + request->length : size);
}

/* What it writes there will not be seen. */
int rt_undo_save_mapped(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	uint64_t start = (uint64_t)request->offset;
	if (rt_undo_stat_regular(request->fd, &status) < 0 || start >= (uint64_t)status.st_size)
		return -ENOENT;
	if (is_new(undo, &status))
		return 0;
	uint64_t length = (uint64_t)status.st_size - start;
	if (request->length < length)
		length = request->length;
	if (length > RT_UNDO_MAP_LIMIT)
		return -ENOENT;
	return save_bytes(undo, request->fd, &status, start, start + length);
}

int rt_undo_save_cut(struct rt_undo *undo, const struct rt_undo_request *request, uint64_t start)
{
	struct stat status;
	if (rt_undo_stat_regular(request->fd, &status) < 0)
		return -ENOENT;
	return is_new(undo, &status) ? 0 : save_bytes(undo, request->fd, &status, start, (uint64_t)status.st_size);
}

int rt_undo_save_cut_path(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	if (rt_sys_fstatat(request->directory, request->path, &status, 0) < 0 || !S_ISREG(status.st_mode))
		return -ENOENT;
	return rt_undo_save_by_path(undo, request, &status, request->length);
}
