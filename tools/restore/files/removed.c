/*
 * Files that were removed: linked again where they have other names, else made again; see undo.c.
 *
 * One that is made again gets another name first, is noted in the log under its new inode number, and is renamed. That
 * name has the log's number in it: other programs may be restored in the same directory, and what a killed restore of
 * this one has left is found.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "common/report.h"
#include "restore/descriptors/replaced.h"
#include "restore/files/undoing.h"

static void __attribute__((noreturn)) fail_again(const struct undo_record *record)
{
	refuse("cannot make %s again, which was removed since the checkpoint: %s", undo_path(record), strerror(errno));
}

static void make_regular(const struct undoing *undoing, const struct undo_record *record, int directory)
{
	struct timespec times[2] = {undo_to_timespec(record->access_ns), undo_to_timespec(record->modify_ns)};
	int fd = openat(directory, undoing->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		fail_again(record);
	undo_write_all(fd, undo_data(record), record->data_length, 0, undo_path(record));
	if (ftruncate(fd, (off_t)record->size) < 0)
		fail_again(record);
	/* Where others' files cannot be made, it becomes ours. */
	if (fchown(fd, record->user, record->group) < 0 && errno != EPERM && errno != EINVAL)
		fail_again(record);
	if (fchmod(fd, record->mode & 07777) < 0)
		fail_again(record);
	futimens(fd, times);
	if (undoing->durable)
		fsync(fd);
	close(fd);
}

static void make_other(const struct undoing *undoing, const struct undo_record *record, int directory)
{
	char target[PATH_MAX];
	int result;
	if (S_ISLNK(record->mode)) {
		snprintf(target, sizeof(target), "%.*s", (int)record->data_length, (const char *)undo_data(record));
		result = symlinkat(target, directory, undoing->temporary);
	} else if (S_ISDIR(record->mode)) {
		result = mkdirat(directory, undoing->temporary, 0700);
	} else {
		result = mknodat(directory, undoing->temporary, record->mode, record->device_number);
	}
	if (result < 0)
		fail_again(record);
	if (fchownat(directory, undoing->temporary, record->user, record->group, AT_SYMLINK_NOFOLLOW) < 0 &&
	    errno != EPERM && errno != EINVAL)
		fail_again(record);
	if (!S_ISLNK(record->mode))
		fchmodat(directory, undoing->temporary, record->mode & 07777, 0);
}

/* The new inode number is in the log before the file has its name. */
static void note_replacement(struct undoing *undoing, const struct undo_record *record, int directory)
{
	struct stat status;
	if (fstatat(directory, undoing->temporary, &status, AT_SYMLINK_NOFOLLOW) < 0)
		fail_again(record);
	int error = undo_note(undoing, &(struct undo_record){.kind = UNDO_REPLACED,
							     .device = record->device,
							     .inode = record->inode,
							     .offset = undoing->run,
							     .size = status.st_ino});
	if (error == 0 && restore_note_made(record->inode, status.st_ino) < 0)
		error = -ENOMEM;
	errno = -error;
	if (error < 0)
		fail_again(record);
}

static void make_again(struct undoing *undoing, const struct undo_record *record, const struct place *place)
{
	unlinkat(place->directory, undoing->temporary, 0);
	unlinkat(place->directory, undoing->temporary, AT_REMOVEDIR);
	if (S_ISREG(record->mode))
		make_regular(undoing, record, place->directory);
	else
		make_other(undoing, record, place->directory);
	note_replacement(undoing, record, place->directory);
	int error = rt_fail(RT_FAIL_RESTORE_REMADE);
	errno = -error;
	if (error < 0 || renameat(place->directory, undoing->temporary, place->directory, place->name) < 0)
		fail_again(record);
}

/* Links `name` of `directory` to the place, if it is the file that was removed. */
static bool link_name(const struct undo_record *record, int directory, const char *name, const struct place *place)
{
	struct stat status;
	return fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	       restore_is_same_inode(record->inode, status.st_ino) &&
	       (status.st_mode & S_IFMT) == (record->mode & S_IFMT) &&
	       linkat(directory, name, place->directory, place->name, 0) == 0;
}

/* Looks for the file under other names in a directory; `directory` is closed. */
static bool link_from(const struct undo_record *record, int directory, const struct place *place)
{
	DIR *names = directory < 0 ? NULL : fdopendir(directory);
	bool linked = false;
	if (names == NULL) {
		if (directory >= 0)
			close(directory);
		return false;
	}
	for (const struct dirent *entry; !linked && (entry = readdir(names)) != NULL;)
		linked = link_name(record, directory, entry->d_name, place);
	closedir(names);
	return linked;
}

/* The directory that a name in the log is in, unless the record before named the same one. */
static int open_directory_of(const struct undoing *undoing, size_t index)
{
	const struct undo_record *record = undoing->records[index].record;
	if (record->parent == 0 || (index > 0 && undoing->records[index - 1].record->parent == record->parent))
		return -1;
	struct place place = undo_open_place(undo_path(record), record->parent);
	int directory = place.directory < 0 ? -1 : openat(place.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	undo_close_place(&place);
	return directory;
}

/* Links the file to another name it has: one the log knows, one in the directory where it was, or one in a
 * directory where the program was busy. */
static bool link_again(const struct undoing *undoing, const struct undo_record *record, const struct place *place)
{
	for (size_t i = 0; i < undoing->count; i++) {
		const struct undo_record *other = undoing->records[i].record;
		if (other->inode == record->inode && other->kind != UNDO_REPLACED &&
		    (link_name(record, AT_FDCWD, undo_path(other), place) ||
		     link_name(record, AT_FDCWD, undo_target(other), place)))
			return true;
	}
	if (link_from(record, openat(place->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), place))
		return true;
	for (size_t i = 0; i < undoing->count; i++)
		if (link_from(record, open_directory_of(undoing, i), place))
			return true;
	report("%s, removed since the checkpoint, had other names, which are not found: it comes back as a file of its "
	       "own",
	       undo_path(record));
	return false;
}

void undo_removed(struct undoing *undoing, const struct undo_record *record)
{
	struct place place = undo_open_place(undo_path(record), record->parent);
	struct stat status;
	if (place.directory < 0)
		report("%s, removed since the checkpoint, cannot be made again: its directory is gone",
		       undo_path(record));
	else if (!undo_look_at(&place, &status)) {
		if (!(record->flags & UNDO_LINKED) || !link_again(undoing, record, &place))
			make_again(undoing, record, &place);
		undoing->renamed = true;
	} else if (!restore_is_same_inode(record->inode, status.st_ino))
		refuse("%s has been put by another program where a file of the checkpoint was: move it away and try "
		       "again",
		       undo_path(record));
	undo_close_place(&place);
}
