/*
 * Sections, and what is saved in them; see undo.h. What is saved how: undo_contents.c, undo_names.c.
 *
 * Raw system calls only, and little stack.
 */
#include "undo.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/message.h"
#include "base/sys.h"
#include "composer.h"
#include "engine.h"
#include "respct.h"
#include "threads/thread.h"
#include "undo_state.h"

#define WORTH_A_CHECKPOINT (16UL << 20) /* bytes in the log: the next checkpoint is not waited for */

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

/* ---- requests ---- */

/* What an open() may wait for. */
static bool leads_to_other_than_file(const struct rt_undo_request *request)
{
	struct stat status;
	return request->change == RT_UNDO_OPEN && rt_sys_fstatat(request->directory, request->path, &status, 0) == 0 &&
	       !S_ISREG(status.st_mode);
}

/* Nothing is saved as long as there is no checkpoint. But the names that a file has may be asked for after it. (Not
 * where the store fails: they are put together in the log.) */
static int only_note(struct rt_undo *undo, const struct rt_undo_request *request)
{
	bool suspended = rt_root.engine->suspended;
	if (request->change == RT_UNDO_LINK && !suspended)
		rt_undo_before_link(undo, request);
	else if (request->change == RT_UNDO_RENAME && !suspended)
		rt_undo_note_renamed(undo, request);
	return leads_to_other_than_file(request) ? -ENOENT : 0;
}

static int save(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request)
{
	if (!undo->active)
		return only_note(undo, request);
	switch (request->change) {
	case RT_UNDO_WRITE: return rt_undo_save_overwritten(undo, request);
	case RT_UNDO_CUT: return rt_undo_save_cut(undo, request, request->length);
	case RT_UNDO_SHIFT: return rt_undo_save_cut(undo, request, (uint64_t)request->offset);
	case RT_UNDO_CUT_PATH: return rt_undo_save_cut_path(undo, request);
	case RT_UNDO_MAP: return rt_undo_save_mapped(undo, request);
	case RT_UNDO_OPEN:
	case RT_UNDO_OPEN_SEMAPHORE: return rt_undo_before_open(undo, section, request);
	case RT_UNDO_MAKE: return rt_undo_before_make(undo, section, request);
	case RT_UNDO_LINK: return rt_undo_before_link(undo, request);
	case RT_UNDO_REMOVE: return rt_undo_before_remove(undo, request);
	case RT_UNDO_RENAME: return rt_undo_before_rename(undo, section, request);
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
	return rt_undo_stat_regular(request->fd, &status) == 0 && offset < status.st_size;
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
	if (!S_ISREG(status->st_mode) || status->st_nlink == 0 || rt_seen_look_up(&undo->seen, status)->created)
		return;
	int result = rt_undo_name_file(undo, fd, status);
	if (result < 0)
		tell_loss(undo, result);
}

static void note_created(struct rt_undo *undo, int fd, int directory, const char *path, const struct stat *status)
{
	uint64_t parent = 0;
	struct rt_seen *seen = rt_seen_look_up(&undo->seen, status);
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
	int result =
		fd >= 0 ? rt_sys_fstat(fd, &status) : rt_sys_fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW);
	if (result < 0)
		return;
	rt_lock(&undo->lock);
	if (undo->active && section->makes)
		note_created(undo, fd, directory, path, &status);
	else if (undo->active && fd >= 0)
		note_opened(undo, fd, &status);
	rt_unlock(&undo->lock);
}
