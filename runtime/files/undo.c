/*
 * Saving how files were; see undo.h. All state is in the runtime's memory, under one lock, which is
 * only held with all signals blocked: nobody is ever captured holding it or waiting for it.
 *
 * Raw system calls only, and little stack: paths and contents go straight into the log.
 */
#include "undo.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/hidden.h"
#include "base/lock.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "composer.h"
#include "engine.h"
#include "links.h"
#include "read_aside.h"
#include "respct.h"
#include "store/undo_log.h"
#include "threads/thread.h"

#define SEEN_FILES 4096 /* a power of two */
#define SEEN_PROBES 8
#define WORTH_A_CHECKPOINT (16UL << 20) /* bytes in the log: the next checkpoint is not waited for */

/* A file that has been met since the last stop. */
struct seen {
	uint64_t device, inode;
	uint32_t interval;
	bool named;   /* the log has its UNDO_FILE */
	bool created; /* it did not exist at the stop: its contents need not be saved */
};

struct rt_undo {
	uint32_t lock;     /* rt_lock() */
	bool active;       /* there is a state to come back to */
	bool asked;        /* for a checkpoint, since the last stop */
	bool told;         /* that a change cannot be undone */
	uint32_t interval; /* counts the stops captured */
	struct undo_log log;
	struct manifest_undo captured;
	char *aside_stack;
	struct seen seen[SEEN_FILES];
};

/* ---- section ---- */

/* The engine may be another one, after a restore, until signals are blocked. */
static struct rt_undo *begin(struct rt_undo_section *section)
{
	/* SIGBUS tells that the log has been cut short: see bus.h. */
	uint64_t all = ~(1UL << (SIGBUS - 1));
	if (!rt_is_protected())
		return NULL;
	rt_local.saving = true;
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &section->mask, sizeof(all));
	section->open = true;
	return rt_root.engine->undo;
}

void rt_undo_end(struct rt_undo_section *section)
{
	if (!section->open)
		return;
	section->open = false;
	if (section->moves_directory)
		rt_descriptors_note_directory_renamed();
	/* A SIGBUS that comes between the two would be taken for the program's own. */
	uint64_t all = ~0UL;
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, NULL, sizeof(all));
	rt_local.saving = false;
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &section->mask, NULL, sizeof(section->mask));
}

/* ---- what has been met since the stop ---- */

static struct seen *look_up(struct rt_undo *undo, uint64_t device, uint64_t inode)
{
	uint64_t hash = (inode ^ (device << 32)) * 0x9e3779b97f4a7c15UL;
	struct seen *place = NULL;
	for (unsigned i = 0; i < SEEN_PROBES; i++) {
		struct seen *entry = &undo->seen[((hash >> 40) + i) % SEEN_FILES];
		bool current = entry->interval == undo->interval;
		if (current && entry->device == device && entry->inode == inode)
			return entry;
		if (place == NULL || (!current && place->interval == undo->interval))
			place = entry;
	}
	*place = (struct seen){.device = device, .inode = inode, .interval = undo->interval};
	return place;
}

static bool is_new(struct rt_undo *undo, const struct stat *status)
{
	return look_up(undo, status->st_dev, status->st_ino)->created;
}

/* A directory has another name: so have all files in it. */
static void forget_names(struct rt_undo *undo)
{
	for (unsigned i = 0; i < SEEN_FILES; i++)
		undo->seen[i].named = false;
}

/* ---- files ---- */

/* The log knows the file's name and length before anything of it is changed. */
static int name_file(struct rt_undo *undo, int fd, const struct stat *status)
{
	struct seen *seen = look_up(undo, status->st_dev, status->st_ino);
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
	int result = name_file(undo, fd, status);
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

/* Saves a file from `start` on, found by name; its name goes to the log resolved. */
static int save_by_path(struct rt_undo *undo, const struct rt_undo_request *request, const struct stat *status,
			uint64_t start)
{
	uint64_t size = (uint64_t)status->st_size;
	struct seen *seen = look_up(undo, status->st_dev, status->st_ino);
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

static int stat_regular(int fd, struct stat *status)
{
	int result = rt_sys_fstat(fd, status);
	if (result < 0)
		return result;
	/* Without a name it comes back with its contents, or not at all. */
	return S_ISREG(status->st_mode) && status->st_nlink > 0 ? 0 : -ENOENT;
}

static int save_overwritten(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	int64_t offset = request->offset;
	if (stat_regular(request->fd, &status) < 0)
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
static int save_mapped(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	uint64_t start = (uint64_t)request->offset;
	if (stat_regular(request->fd, &status) < 0 || start >= (uint64_t)status.st_size)
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

static int save_cut(struct rt_undo *undo, const struct rt_undo_request *request, uint64_t start)
{
	struct stat status;
	if (stat_regular(request->fd, &status) < 0)
		return -ENOENT;
	return is_new(undo, &status) ? 0 : save_bytes(undo, request->fd, &status, start, (uint64_t)status.st_size);
}

static int stat_path(int directory, const char *path, struct stat *status, int flags)
{
	return (int)rt_syscall(SYS_newfstatat, directory, path, status, flags);
}

static int save_cut_path(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	if (stat_path(request->directory, request->path, &status, 0) < 0 || !S_ISREG(status.st_mode))
		return -ENOENT;
	return save_by_path(undo, request, &status, request->length);
}

/* ---- names ---- */

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

static int before_open(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	struct stat status;
	bool exclusive = (request->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	int result = stat_path(request->directory, request->path, &status,
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
		return save_by_path(undo, request, &status, 0);
	return 0;
}

static int before_make(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	struct stat status;
	int result = stat_path(request->directory, request->path, &status, AT_SYMLINK_NOFOLLOW);
	if (result == -ENOENT)
		return note_absent(undo, section, request->directory, request->path, 0);
	/* As with O_EXCL. */
	section->makes = result == 0;
	return 0;
}

/* What the new name will lead to is known, so one record says all. */
static int before_link(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat old, new;
	uint64_t parent = 0;
	int follow = request->flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW;
	if (stat_path(request->directory, request->path, &old, follow | (request->flags & AT_EMPTY_PATH)) < 0 ||
	    stat_path(request->other_directory, request->other, &new, AT_SYMLINK_NOFOLLOW) != -ENOENT)
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

/* A file with several names is about to change one of them, while there is no state to come back to. */
static void note_renamed(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	uint64_t parent = 0;
	if (stat_path(request->directory, request->path, &status, AT_SYMLINK_NOFOLLOW) < 0 || status.st_nlink < 2 ||
	    S_ISDIR(status.st_mode))
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
	struct seen *seen = look_up(undo, status->st_dev, status->st_ino);
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

static int before_remove(struct rt_undo *undo, const struct rt_undo_request *request)
{
	struct stat status;
	if (stat_path(request->directory, request->path, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return save_removed(undo, request->directory, request->path, &status,
			    request->length > 0 ? request->length : UINT64_MAX);
}

#define RENAME_NOREPLACE_FLAG 1U
#define RENAME_EXCHANGE_FLAG 2U

static int before_rename(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	struct stat old, taken;
	uint64_t parent = 0, target_parent = 0;
	unsigned flags = (unsigned)request->flags;
	if (stat_path(request->directory, request->path, &old, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	bool exists = stat_path(request->other_directory, request->other, &taken, AT_SYMLINK_NOFOLLOW) == 0;
	if (exists && ((flags & RENAME_NOREPLACE_FLAG) || (old.st_ino == taken.st_ino && old.st_dev == taken.st_dev)))
		return 0;
	int result = exists && !(flags & RENAME_EXCHANGE_FLAG)
			     ? save_removed(undo, request->other_directory, request->other, &taken, UINT64_MAX)
			     : 0;
	if (result < 0)
		return result;
	look_up(undo, old.st_dev, old.st_ino)->named = false;
	if (exists)
		look_up(undo, taken.st_dev, taken.st_ino)->named = false;
	if (S_ISDIR(old.st_mode) || (exists && S_ISDIR(taken.st_mode))) {
		forget_names(undo);
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

/* ---- requests ---- */

/*
 * 0: the section stays open, as it must before any call that changes a name or overwrites something, also where there
 * is nothing to save: a stop is often asked for within a section, and comes where it ends. A thread captured between
 * there and its call would make the call unsaved, and again after a restore.
 *
 * -ENOENT: the call may wait, or changes nothing but what comes behind the end of a file. Else: it could not be saved.
 */

/* What an open() may wait for. */
static bool leads_to_other_than_file(const struct rt_undo_request *request)
{
	struct stat status;
	return request->change == RT_UNDO_OPEN && stat_path(request->directory, request->path, &status, 0) == 0 &&
	       !S_ISREG(status.st_mode);
}

/* Nothing is saved as long as there is no checkpoint. But the names that a file has may be asked for after it. (Not
 * where the store fails: they are put together in the log.) */
static int only_note(struct rt_undo *undo, const struct rt_undo_request *request)
{
	bool suspended = rt_root.engine->suspended;
	if (request->change == RT_UNDO_LINK && !suspended)
		before_link(undo, request);
	else if (request->change == RT_UNDO_RENAME && !suspended)
		note_renamed(undo, request);
	return leads_to_other_than_file(request) ? -ENOENT : 0;
}

static int save(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	if (!undo->active)
		return only_note(undo, request);
	switch (request->change) {
	case RT_UNDO_WRITE: return save_overwritten(undo, request);
	case RT_UNDO_CUT: return save_cut(undo, request, request->length);
	case RT_UNDO_SHIFT: return save_cut(undo, request, (uint64_t)request->offset);
	case RT_UNDO_CUT_PATH: return save_cut_path(undo, request);
	case RT_UNDO_MAP: return save_mapped(undo, request);
	case RT_UNDO_OPEN:
	case RT_UNDO_OPEN_SEMAPHORE: return before_open(undo, section, request);
	case RT_UNDO_MAKE: return before_make(undo, section, request);
	case RT_UNDO_LINK: return before_link(undo, request);
	case RT_UNDO_REMOVE: return before_remove(undo, request);
	case RT_UNDO_RENAME: return before_rename(undo, section, request);
	}
	return -ENOENT;
}

static void tell_loss(struct rt_undo *undo, int error)
{
	rt_undo_log_note_loss(&undo->log);
	if (undo->told)
		return;
	undo->told = true;
	rt_say("%s: %s: a restore will not undo what is overwritten or removed in files now", rt_root.directory,
	       error == -EFBIG ? "more than 64 MiB to save since the last checkpoint" : rt_error_text(error));
}

/* A log that fills fast: the next checkpoint empties it. */
static void ask_for_checkpoint(struct rt_undo *undo)
{
	struct engine *engine = rt_root.engine;
	if (undo->asked || undo->log.end[undo->log.current] < WORTH_A_CHECKPOINT)
		return;
	undo->asked = true;
	__atomic_add_fetch(&engine->request, 1, __ATOMIC_ACQ_REL);
	rt_syscall(SYS_futex, &engine->request, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* One attempt. Whether it is worth another one after a checkpoint: the log is full of older records. */
static bool try_to_save(struct rt_undo_section *section, const struct rt_undo_request *request, bool last)
{
	struct rt_undo *undo = begin(section);
	if (undo == NULL) {
		rt_undo_end(section);
		return false;
	}
	section->makes = section->moves_directory = false;
	rt_lock(&undo->lock);
	int result = save(undo, section, request);
	bool again = result == -EFBIG && !last && undo->log.end[undo->log.current] > WORTH_A_CHECKPOINT;
	if (result < 0 && result != -ENOENT && !again)
		tell_loss(undo, result);
	ask_for_checkpoint(undo);
	rt_unlock(&undo->lock);
	if (result == -ENOENT || again)
		rt_undo_end(section);
	return again;
}

/* What can be told at once and without a section: most writes are to no file, or append. */
static bool overwrites(const struct rt_undo_request *request)
{
	struct stat status;
	int64_t offset = request->offset;
	if (request->length == 0)
		return false;
	if (offset == RT_UNDO_HERE && (offset = rt_sys_lseek(request->fd, 0, SEEK_CUR)) < 0)
		return false;
	return stat_regular(request->fd, &status) == 0 && offset < status.st_size;
}

void rt_undo_save(struct rt_undo_section *section, const struct rt_undo_request *request)
{
	if (request->change == RT_UNDO_WRITE && !overwrites(request))
		return;
	if (request->change >= RT_UNDO_CUT_PATH && request->path == NULL)
		return;
	if (try_to_save(section, request, false)) {
		rt_checkpoint_now();
		try_to_save(section, request, true);
	}
}

/* A file that was there and is open for writing now: what is appended to it since will be cut. */
static void note_opened(struct rt_undo *undo, int fd, const struct stat *status)
{
	if (!S_ISREG(status->st_mode) || status->st_nlink == 0 ||
	    look_up(undo, status->st_dev, status->st_ino)->created)
		return;
	int result = name_file(undo, fd, status);
	if (result < 0)
		tell_loss(undo, result);
}

static void note_created(struct rt_undo *undo, int fd, int directory, const char *path, const struct stat *status)
{
	uint64_t parent = 0;
	struct seen *seen = look_up(undo, status->st_dev, status->st_ino);
	struct undo_composer composer = rt_compose(&undo->log, UNDO_CREATED, status);
	if (fd >= 0)
		rt_compose_fd_path(&composer, fd);
	else
		rt_compose_path(&composer, directory, path, &parent);
	if (composer.error == 0)
		composer.record.parent =
			fd >= 0 ? rt_parent_of(rt_composed_name(&composer), composer.record.path_length - 1) : parent;
	int result = rt_compose_end(&composer);
	if (result < 0)
		tell_loss(undo, result);
	else
		seen->created = seen->named = true;
}

void rt_undo_made(struct rt_undo_section *section, int fd, int directory, const char *path)
{
	struct stat status;
	struct rt_undo *undo = section->open ? rt_root.engine->undo : NULL;
	if (undo == NULL || (fd < 0 && path == NULL))
		return;
	int result = fd >= 0 ? rt_sys_fstat(fd, &status) : stat_path(directory, path, &status, AT_SYMLINK_NOFOLLOW);
	if (result < 0)
		return;
	rt_lock(&undo->lock);
	if (undo->active && section->makes)
		note_created(undo, fd, directory, path, &status);
	else if (undo->active && fd >= 0)
		note_opened(undo, fd, &status);
	rt_unlock(&undo->lock);
}

/* ---- the engine's side ---- */

/* Where the committed checkpoint's records begin. False: there is no checkpoint, or it says nothing. */
static bool committed_position(struct store *store, struct manifest_undo *position)
{
	struct manifest_reader reader = {0};
	uint32_t kind, length;
	const void *payload;
	reader.bytes = rt_store_manifest(store, &reader.length);
	while (reader.bytes != NULL && rt_manifest_next(&reader, &kind, &payload, &length) == 1)
		if (kind == MANIFEST_UNDO && length == sizeof(*position)) {
			memcpy(position, payload, sizeof(*position));
			return position->id != 0;
		}
	return false;
}

struct rt_undo *rt_undo_start(struct engine *engine)
{
	struct rt_undo *undo = rt_memory_map(sizeof(*undo));
	char *stack = rt_memory_map(RT_READ_ASIDE_STACK);
	if (undo == NULL || stack == NULL)
		return NULL;
	undo->aside_stack = stack;
	undo->interval = 1;
	int result = rt_undo_log_open(rt_root.directory, rt_store_persist_kind(engine->store), rt_hidden_floor(),
				      &undo->log);
	if (result == 0) {
		rt_hide_in_place(undo->log.files[0].fd);
		rt_hide_in_place(undo->log.files[1].fd);
		undo->active = committed_position(engine->store, &undo->captured);
		result = undo->active ? rt_undo_log_continue(&undo->log, &undo->captured)
				      : rt_undo_log_reset(&undo->log);
	}
	if (result == 0)
		return undo;
	rt_say("%s: %s: a restore will not undo what is overwritten or removed in files", rt_root.directory,
	       rt_error_text(result));
	return NULL;
}

int rt_undo_look(const struct engine *engine)
{
	const struct rt_undo *undo = engine->undo;
	int result = 0;
	for (unsigned i = 0; undo != NULL && i < 2 && result == 0; i++)
		result = rt_persist_look(&undo->log.files[i]);
	return result;
}

int rt_undo_start_over(struct engine *engine)
{
	struct rt_undo *undo = engine->undo;
	if (undo == NULL)
		return 0;
	/* With SIGBUS unblocked: the new files may be cut, too. */
	rt_lock(&undo->lock);
	undo->active = false;
	undo->told = false;
	undo->interval++;
	int result = rt_undo_log_start_over(&undo->log);
	rt_unlock(&undo->lock);
	return result;
}

void rt_undo_give_up(struct engine *engine)
{
	if (engine->undo != NULL)
		__atomic_store_n(&engine->undo->active, false, __ATOMIC_RELEASE);
}

void rt_undo_capture(struct engine *engine, struct manifest_writer *writer)
{
	struct rt_undo *undo = engine->undo;
	if (undo == NULL)
		return;
	undo->captured = rt_undo_log_turn(&undo->log);
	undo->active = true;
	undo->asked = false;
	undo->interval++;
	rt_manifest_add(writer, MANIFEST_UNDO, &undo->captured, sizeof(undo->captured));
}

int rt_undo_before_commit(struct engine *engine)
{
	struct rt_undo *undo = engine->undo;
	/* Nothing to wait for where the page cache is enough. */
	if (undo == NULL || undo->log.files[0].kind == PERSIST_PROCESS)
		return 0;
	rt_lock(&undo->lock);
	int result = rt_undo_log_drain(&undo->log);
	rt_unlock(&undo->lock);
	return result;
}

void rt_undo_committed(struct engine *engine)
{
	if (engine->undo != NULL)
		rt_undo_log_committed(&engine->undo->log, &engine->undo->captured);
}
