/*
 * Saving names before calls make, take or change them; see undo_state.h.
 *
 * Raw system calls only, and little stack: paths and contents go straight into the log.
 */
#include "undo_state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/sys.h"
#include "composer.h"
#include "links.h"
#include "read_aside.h"

static int note_absent(struct rt_undo *undo, struct rt_undo_section *section, int directory, const char *path,
		       uint32_t flags)
{
	struct undo_composer composer = rt_compose(&undo->log, UNDO_ABSENT, NULL);
	uint64_t parent = 0;
	rt_compose_path(&composer, directory, path, &parent);
	if (composer.error == 0)
		composer.record.parent = parent;
	composer.record.flags = flags;
	section->makes = true;
	return rt_compose_end(&composer);
}

int rt_undo_before_open(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	struct stat status;
	bool exclusive = (request->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	int result = rt_sys_fstatat(request->directory, request->path, &status,
				    exclusive || (request->flags & O_NOFOLLOW) ? AT_SYMLINK_NOFOLLOW : 0);
	if (result == -ENOENT && (request->flags & O_CREAT))
		return note_absent(undo, section, request->directory, request->path,
				   request->change == RT_UNDO_OPEN_SEMAPHORE ? UNDO_FILLED : 0);
	/* It succeeds only when another thread has removed what is there. */
	section->makes = exclusive && result == 0;
	if (section->makes)
		return 0;
	if (result < 0 || !S_ISREG(status.st_mode))
		return -ENOENT;
	if ((request->flags & O_TRUNC) && status.st_size > 0)
		return rt_undo_save_by_path(undo, request, &status, 0);
	return 0;
}

int rt_undo_before_make(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	struct stat status;
	int result = rt_sys_fstatat(request->directory, request->path, &status, AT_SYMLINK_NOFOLLOW);
	if (result == -ENOENT)
		return note_absent(undo, section, request->directory, request->path, 0);
	/* As with O_EXCL. */
	section->makes = result == 0;
	return 0;
}

/* What the new name will lead to is known, so one record says all. */
int rt_undo_before_link(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat old, new;
	uint64_t parent = 0;
	int follow = request->flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW;
	if (rt_sys_fstatat(request->directory, request->path, &old, follow | (request->flags & AT_EMPTY_PATH)) < 0 ||
	    rt_sys_fstatat(request->other_directory, request->other, &new, AT_SYMLINK_NOFOLLOW) != -ENOENT)
		return 0;
	struct undo_composer composer = rt_compose(&undo->log, UNDO_CREATED, &old);
	rt_compose_path(&composer, request->other_directory, request->other, &parent);
	if (composer.error < 0)
		return composer.error;
	composer.record.parent = parent;
	rt_links_note(old.st_dev, old.st_ino, rt_composed_name(&composer));
	if (rt_make_absolute(rt_compose_place(&composer), request->directory, request->path) > 0)
		rt_links_note(old.st_dev, old.st_ino, rt_compose_place(&composer));
	return undo->active ? rt_compose_end(&composer) : 0;
}

void rt_undo_note_renamed(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	uint64_t parent = 0;
	if (rt_sys_fstatat(request->directory, request->path, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
	    status.st_nlink < 2 || S_ISDIR(status.st_mode))
		return;
	struct undo_composer composer = rt_compose(&undo->log, UNDO_RENAMED, &status);
	rt_compose_path(&composer, request->other_directory, request->other, &parent);
	if (composer.error == 0)
		rt_links_note(status.st_dev, status.st_ino, rt_composed_name(&composer));
}

static int read_removed(struct rt_undo *undo, struct undo_composer *composer, int directory, const char *path,
			const struct stat *status)
{
	uint64_t size = (uint64_t)status->st_size;
	if (S_ISLNK(status->st_mode)) {
		char *data = rt_compose_data(composer, PATH_MAX);
		if (data == NULL)
			return composer->error;
		long length = rt_syscall(SYS_readlinkat, directory, path, data, PATH_MAX);
		composer->record.data_length = length < 0 ? 0 : (uint64_t)length;
		return length < 0 ? (int)length : 0;
	}
	if (!S_ISREG(status->st_mode) || size == 0)
		return 0;
	struct rt_reading reading = {
		.directory = directory, .path = path, .data = rt_compose_data(composer, size), .capacity = size};
	if (reading.data == NULL)
		return composer->error;
	rt_read_aside(undo->aside_stack, &reading);
	if (reading.result < 0)
		return (int)reading.result;
	composer->record.data_length = (uint64_t)reading.result;
	return 0;
}

/* Saves what is about to lose its name; its contents only up to `most` bytes. */
static int save_removed(struct rt_undo *undo, int directory, const char *path, const struct stat *status, uint64_t most)
{
	struct rt_seen *seen = rt_seen_look_up(&undo->seen, status);
	if (seen->created && (S_ISDIR(status->st_mode) || status->st_nlink <= 1)) {
		/* The number may be another file's next. */
		seen->created = seen->named = false;
		return 0;
	}
	seen->named = false;
	struct undo_composer composer = rt_compose(&undo->log, UNDO_REMOVED, status);
	uint64_t parent = 0;
	rt_compose_path(&composer, directory, path, &parent);
	if (composer.error < 0)
		return composer.error;
	composer.record.parent = parent;
	if (!S_ISDIR(status->st_mode) && status->st_nlink > 1) {
		composer.record.flags |= UNDO_LINKED;
		rt_compose_other_name(&composer, status);
	}
	int result = (uint64_t)status->st_size <= most ? read_removed(undo, &composer, directory, path, status) : 0;
	return result < 0 ? result : rt_compose_end(&composer);
}

int rt_undo_before_remove(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	if (rt_sys_fstatat(request->directory, request->path, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return save_removed(undo, request->directory, request->path, &status,
			    request->length > 0 ? request->length : UINT64_MAX);
}

#define RENAME_NOREPLACE_FLAG 1U
#define RENAME_EXCHANGE_FLAG 2U

int rt_undo_before_rename(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	struct stat old, taken;
	uint64_t parent = 0, target_parent = 0;
	unsigned flags = (unsigned)request->flags;
	if (rt_sys_fstatat(request->directory, request->path, &old, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	bool exists = rt_sys_fstatat(request->other_directory, request->other, &taken, AT_SYMLINK_NOFOLLOW) == 0;
	if (exists && ((flags & RENAME_NOREPLACE_FLAG) || (old.st_ino == taken.st_ino && old.st_dev == taken.st_dev)))
		return 0;
	int result = exists && !(flags & RENAME_EXCHANGE_FLAG)
			     ? save_removed(undo, request->other_directory, request->other, &taken, UINT64_MAX)
			     : 0;
	if (result < 0)
		return result;
	rt_seen_look_up(&undo->seen, &old)->named = false;
	if (exists)
		rt_seen_look_up(&undo->seen, &taken)->named = false;
	if (S_ISDIR(old.st_mode) || (exists && S_ISDIR(taken.st_mode))) {
		rt_seen_forget_names(&undo->seen);
		section->moves_directory = true;
	}
	struct undo_composer composer = rt_compose(&undo->log, UNDO_RENAMED, &old);
	rt_compose_path(&composer, request->directory, request->path, &parent);
	rt_compose_path(&composer, request->other_directory, request->other, &target_parent);
	if (composer.error < 0)
		return composer.error;
	composer.record.parent = parent;
	composer.record.target_parent = target_parent;
	if (old.st_nlink > 1 && !S_ISDIR(old.st_mode))
		rt_links_note(old.st_dev, old.st_ino, rt_composed_name(&composer) + composer.record.path_length);
	if (flags & RENAME_EXCHANGE_FLAG) {
		composer.record.flags |= UNDO_EXCHANGED;
		composer.record.size = exists ? taken.st_ino : 0;
	}
	return rt_compose_end(&composer);
}
