/*
 * The undo log, applied backwards; see undo.h and runtime/store/undo_log.h.
 *
 * Each step first looks at what is there and does only what is missing, so that it may be done twice. After one that
 * changed a name, and at the end, a record says how far it has come: from there on nothing is undone again, and what
 * a restored process adds to the log comes after. So a restore may be killed, and made again, any number of times.
 *
 * Nothing is followed out of the place where it was: the last component of a path is never a symbolic link,
 * and both a file and the directory of a name must have the inode number recorded.
 */
#include "undo.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/fail.h"
#include "common/report.h"
#include "restore/descriptors/replaced.h"
#include "restore/files/others.h"
#include "restore/files/undoing.h"

#define RENAME_NOREPLACE_FLAG 1U
#define RENAME_EXCHANGE_FLAG 2U

/* ---- reading the log ---- */

static void add_record(struct undoing *undoing, const struct undo_record *record, uint64_t generation, uint64_t offset)
{
	if (undoing->count == undoing->capacity) {
		undoing->capacity = undoing->capacity ? 2 * undoing->capacity : 256;
		undoing->records = realloc(undoing->records, undoing->capacity * sizeof(*undoing->records));
		if (undoing->records == NULL)
			refuse("out of memory");
	}
	undoing->records[undoing->count++] = (struct logged){record, generation, offset};
	uint64_t run = record->kind == UNDO_REPLACED ? record->offset : record->kind == UNDO_UNDONE ? record->inode : 0;
	if (undoing->run <= run)
		undoing->run = run + 1;
}

static void read_records(struct undoing *undoing, const struct manifest_undo *position)
{
	struct undo_cursor cursor = {position->generation, position->offset};
	const struct undo_record *record;
	undoing->run = 1;
	while ((record = rt_undo_log_next(&undoing->log, &cursor)) != NULL)
		add_record(undoing, record, cursor.generation, cursor.offset - record->length);
}

static bool is_in_memory(const char *path)
{
	struct statfs status;
	return statfs(path, &status) == 0 && (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

bool undo_has_files_in_memory(const struct image *image, const char *directory)
{
	struct undoing undoing = {.log.limit = UNDO_LOG_BYTES};
	bool found = false;
	int error = image->undo.id == 0 ? -ENOENT : rt_undo_log_look(directory, &undoing.log);
	if (error == 0)
		error = rt_undo_log_continue(&undoing.log, &image->undo);
	if (error == 0)
		read_records(&undoing, &image->undo);
	for (size_t i = 0; i < undoing.count && !found; i++)
		found = undoing.records[i].record->kind == UNDO_FILE &&
			is_in_memory(undo_path(undoing.records[i].record));
	free(undoing.records);
	rt_undo_log_close(&undoing.log);
	return found;
}

static size_t hash_inode(const struct undo_record *record, size_t slots)
{
	return (size_t)((record->inode ^ (record->device << 32)) * 0x9e3779b97f4a7c15UL >> 32) % slots;
}

/* Finds for each UNDO_BYTES the UNDO_FILE that names its file: the last one before it. */
static void find_names(struct undoing *undoing)
{
	size_t slots = 2 * undoing->count + 1;
	size_t *table = malloc(slots * sizeof(*table));
	undoing->file_of = malloc((undoing->count + 1) * sizeof(*undoing->file_of));
	undoing->changed = calloc(undoing->count + 1, sizeof(*undoing->changed));
	if (table == NULL || undoing->file_of == NULL || undoing->changed == NULL)
		refuse("out of memory");
	memset(table, 0xff, slots * sizeof(*table));
	for (size_t i = 0; i < undoing->count; i++) {
		const struct undo_record *record = undoing->records[i].record;
		size_t slot = hash_inode(record, slots);
		undoing->file_of[i] = NO_RECORD;
		if (record->kind != UNDO_FILE && record->kind != UNDO_BYTES)
			continue;
		while (table[slot] != NO_RECORD && (undoing->records[table[slot]].record->inode != record->inode ||
						    undoing->records[table[slot]].record->device != record->device))
			slot = (slot + 1) % slots;
		if (record->kind == UNDO_FILE)
			table[slot] = i;
		else
			undoing->file_of[i] = table[slot];
	}
	free(table);
}

/* ---- contents ---- */

static void close_file(struct undoing *undoing)
{
	if (undoing->fd >= 0)
		close(undoing->fd);
	undoing->fd = -1;
}

/* Opens the file of an UNDO_FILE for writing; -1 when it is not there any more. */
static int open_file(struct undoing *undoing, size_t index)
{
	const struct undo_record *file = undoing->records[index].record;
	struct stat status;
	if (undoing->fd >= 0 && undoing->fd_file == index)
		return undoing->fd;
	close_file(undoing);
	int fd = open(undo_path(file), O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
		refuse("cannot open %s to undo what was written since the checkpoint: %s", undo_path(file),
		       strerror(errno));
	if (fd >= 0 && (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
			!restore_is_same_inode(file->inode, status.st_ino))) {
		close(fd);
		fd = -1;
	}
	undoing->fd = fd;
	undoing->fd_file = index;
	return fd;
}

void undo_write_all(int fd, const uint8_t *bytes, uint64_t length, uint64_t offset, const char *path)
{
	for (uint64_t done = 0; done < length;) {
		ssize_t part = pwrite(fd, bytes + done, length - done, (off_t)(offset + done));
		if (part <= 0)
			refuse("%s: cannot undo what was written since the checkpoint: %s", path,
			       part < 0 ? strerror(errno) : "nothing can be written");
		done += (uint64_t)part;
	}
}

static bool is_shared_with_others(const struct undo_record *file)
{
	return others_have_mapped(file->device, file->inode) && is_in_memory(undo_path(file));
}

static void undo_bytes(struct undoing *undoing, size_t index)
{
	const struct undo_record *record = undoing->records[index].record;
	size_t file = undoing->file_of[index];
	if (file == NO_RECORD || is_shared_with_others(undoing->records[file].record))
		return; /* said at its UNDO_FILE */
	int fd = open_file(undoing, file);
	if (fd < 0)
		return; /* likewise */
	undo_write_all(fd, undo_data(record), record->data_length, record->offset,
		       undo_path(undoing->records[file].record));
	undoing->changed[file] = true;
}

static void undo_file(struct undoing *undoing, size_t index)
{
	const struct undo_record *record = undoing->records[index].record;
	struct timespec times[2] = {{0, UTIME_OMIT}, undo_to_timespec(record->modify_ns)};
	struct stat status;
	if (is_shared_with_others(record)) {
		report("%s is mapped by others, too: its contents are left as they are", undo_path(record));
		return;
	}
	int fd = open_file(undoing, index);
	if (fd < 0) {
		report("%s has been removed or replaced by another program since the checkpoint", undo_path(record));
		return;
	}
	if (fstat(fd, &status) == 0 && (uint64_t)status.st_size > record->size) {
		if (ftruncate(fd, (off_t)record->size) < 0)
			refuse("cannot cut %s back to %llu bytes: %s", undo_path(record),
			       (unsigned long long)record->size, strerror(errno));
		undoing->changed[index] = true;
	}
	if (undoing->changed[index])
		futimens(fd, times);
}

/* ---- names ---- */

/* "/a/b/../c" becomes "/a/c", which leads there also when b is gone; somewhere else where b was a symbolic link. */
static void take_out_parents(char *path)
{
	char *out = path;
	const char *at = path, *end;
	for (; *at == '/'; at = end) {
		end = at + 1 + strcspn(at + 1, "/");
		size_t length = (size_t)(end - at);
		if (length == 3 && memcmp(at, "/..", 3) == 0) {
			while (out > path && *--out != '/')
				;
		} else if (length > 1) {
			memmove(out, at, length);
			out += length;
		}
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

static int open_directory(char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 || errno != ENOENT || strstr(path, "/..") == NULL)
		return fd;
	take_out_parents(path);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

struct place undo_open_place(const char *path, uint64_t parent)
{
	struct place place = {.directory = -1};
	struct stat status;
	char *copy = strdup(path), *second = strdup(path);
	if (copy == NULL || second == NULL)
		refuse("out of memory");
	snprintf(place.name, sizeof(place.name), "%s", basename(copy));
	place.directory = open_directory(dirname(second));
	free(copy);
	free(second);
	if (place.directory >= 0 &&
	    (fstat(place.directory, &status) < 0 || !restore_is_same_inode(parent, status.st_ino))) {
		close(place.directory);
		place.directory = -1;
	}
	return place;
}

void undo_close_place(const struct place *place)
{
	if (place->directory >= 0)
		close(place->directory);
}

bool undo_look_at(const struct place *place, struct stat *status)
{
	return place->directory >= 0 && fstatat(place->directory, place->name, status, AT_SYMLINK_NOFOLLOW) == 0;
}

static void remove_place(struct undoing *undoing, const struct place *place, const struct stat *status,
			 const char *path)
{
	int flags = S_ISDIR(status->st_mode) ? AT_REMOVEDIR : 0;
	undoing->renamed = true;
	if (unlinkat(place->directory, place->name, flags) == 0 || errno == ENOENT)
		return;
	if (errno == ENOTEMPTY || errno == EEXIST)
		report("%s, made since the checkpoint, is not empty and stays", path);
	else
		refuse("cannot remove %s, made since the checkpoint: %s", path, strerror(errno));
}

static void undo_created(struct undoing *undoing, const struct undo_record *record)
{
	struct place place = undo_open_place(undo_path(record), record->parent);
	struct stat status;
	if (undo_look_at(&place, &status) && restore_is_same_inode(record->inode, status.st_ino) &&
	    (status.st_mode & S_IFMT) == (record->mode & S_IFMT))
		remove_place(undoing, &place, &status, undo_path(record));
	undo_close_place(&place);
}

static bool has_creation(const struct undoing *undoing, size_t index)
{
	const struct undo_record *absent = undoing->records[index].record;
	for (size_t i = index + 1; i < undoing->count; i++) {
		const struct undo_record *record = undoing->records[i].record;
		if (record->kind == UNDO_CREATED && strcmp(undo_path(record), undo_path(absent)) == 0)
			return true;
	}
	return false;
}

/* Killed between making something and noting what it is: then it is as new and as empty as can be. */
static void undo_absent(struct undoing *undoing, size_t index)
{
	const struct undo_record *record = undoing->records[index].record;
	struct place place = undo_open_place(undo_path(record), record->parent);
	struct stat status;
	if (undo_look_at(&place, &status) &&
	    (!S_ISREG(status.st_mode) || status.st_size == 0 || (record->flags & UNDO_FILLED)) &&
	    status.st_ctim.tv_sec * NS_PER_S + status.st_ctim.tv_nsec >= record->time_ns &&
	    !has_creation(undoing, index))
		remove_place(undoing, &place, &status, undo_path(record));
	undo_close_place(&place);
}

static void undo_renamed(struct undoing *undoing, const struct undo_record *record)
{
	struct place from = undo_open_place(undo_path(record), record->parent);
	struct place to = undo_open_place(undo_target(record), record->target_parent);
	struct stat at_from, at_to;
	bool there = undo_look_at(&from, &at_from);
	bool moved = undo_look_at(&to, &at_to) && restore_is_same_inode(record->inode, at_to.st_ino);
	unsigned flags = RENAME_NOREPLACE_FLAG;
	if (record->flags & UNDO_EXCHANGED) {
		flags = RENAME_EXCHANGE_FLAG;
		moved = moved && there && restore_is_same_inode(record->size, at_from.st_ino);
		there = false;
	}
	if (moved && from.directory >= 0 && !there) {
		if (syscall(SYS_renameat2, to.directory, to.name, from.directory, from.name, flags) < 0)
			refuse("cannot rename %s back to %s: %s", undo_target(record), undo_path(record),
			       strerror(errno));
		undoing->renamed = true;
	}
	undo_close_place(&from);
	undo_close_place(&to);
}

/* ---- all ---- */

int undo_note(struct undoing *undoing, const struct undo_record *contents)
{
	int error;
	struct undo_record record = *contents;
	if (rt_undo_log_room(&undoing->log, sizeof(record), &error) == NULL)
		return error;
	record.length = sizeof(record);
	return rt_undo_log_append(&undoing->log, &record);
}

static void undo_one(struct undoing *undoing, size_t index)
{
	const struct undo_record *record = undoing->records[index].record;
	if (record->kind != UNDO_BYTES && (record->kind != UNDO_FILE || undoing->fd_file != index))
		close_file(undoing);
	switch (record->kind) {
	case UNDO_FILE: undo_file(undoing, index); break;
	case UNDO_BYTES: undo_bytes(undoing, index); break;
	case UNDO_ABSENT: undo_absent(undoing, index); break;
	case UNDO_CREATED: undo_created(undoing, record); break;
	case UNDO_REMOVED: undo_removed(undoing, record); break;
	case UNDO_RENAMED: undo_renamed(undoing, record); break;
	default: break;
	}
}

/* All from this record on is undone. */
static void note_undone(struct undoing *undoing, size_t index)
{
	const struct logged *logged = &undoing->records[index];
	int error = undo_note(undoing, &(struct undo_record){.kind = UNDO_UNDONE,
							     .inode = undoing->run,
							     .offset = logged->offset,
							     .size = logged->generation});
	if (error < 0)
		refuse("cannot write to the undo log: %s", strerror(-error));
	undoing->renamed = false;
}

/* How many records stand before the place an UNDO_UNDONE names. */
static size_t records_before(const struct undoing *undoing, size_t index)
{
	const struct undo_record *record = undoing->records[index].record;
	while (index > 0 && (undoing->records[index - 1].generation > record->size ||
			     (undoing->records[index - 1].generation == record->size &&
			      undoing->records[index - 1].offset >= record->offset)))
		index--;
	return index;
}

/* A file that an earlier restore has made again. */
static void read_replaced(const struct undo_record *record)
{
	if (restore_enter_level(record->offset) < 0 || restore_note_replaced(record->inode, record->size) < 0)
		refuse("out of memory");
}

/* Passes over what earlier restores have undone, but for the files they have made again. Returns how many records
 * are left to look at. */
static size_t pass_over(const struct undoing *undoing, size_t index)
{
	size_t left = records_before(undoing, index);
	for (size_t i = index; i > left; i--)
		if (undoing->records[i - 1].record->kind == UNDO_REPLACED)
			read_replaced(undoing->records[i - 1].record);
	return left;
}

static void undo_all(struct undoing *undoing)
{
	size_t left = undoing->count;
	bool any = false;
	while (left > 0) {
		const struct undo_record *record = undoing->records[--left].record;
		if (record->kind == UNDO_UNDONE) {
			left = pass_over(undoing, left);
		} else if (record->kind == UNDO_REPLACED) {
			read_replaced(record);
		} else {
			int error = rt_fail(RT_FAIL_RESTORE_UNDO);
			if (error < 0)
				refuse("cannot undo a change: %s", strerror(-error));
			undo_one(undoing, left);
			any = true;
			if (undoing->renamed)
				note_undone(undoing, left);
		}
	}
	close_file(undoing);
	if (any)
		note_undone(undoing, 0);
}

void undo_changes(const struct image *image, const char *directory, int lowest_fd)
{
	struct undoing undoing = {.fd = -1, .durable = image->status.durability == STORE_DURABILITY_POWER};
	if (image->undo.id == 0)
		return;
	int error =
		rt_undo_log_open(directory, undoing.durable ? PERSIST_SYNC : PERSIST_PROCESS, lowest_fd, &undoing.log);
	undoing.log.limit = UNDO_LOG_BYTES;
	if (error == 0)
		error = rt_undo_log_continue(&undoing.log, &image->undo);
	if (error == -EBADMSG)
		refuse("%s: damaged: the undo log is not that of the checkpoint", directory);
	if (error < 0)
		refuse("%s: cannot read the undo log: %s", directory, strerror(-error));
	snprintf(undoing.temporary, sizeof(undoing.temporary), ".respct-undo-%016llx",
		 (unsigned long long)image->undo.id);
	read_records(&undoing, &image->undo);
	if (rt_undo_log_has_loss(&undoing.log, &image->undo))
		report("not all that was overwritten or removed in files since the checkpoint could be saved: they may "
		       "differ from it");
	find_names(&undoing);
	undo_all(&undoing);
	if (undoing.durable && undoing.count > 0)
		sync();
	free(undoing.records);
	free(undoing.file_of);
	free(undoing.changed);
	rt_undo_log_close(&undoing.log);
}
