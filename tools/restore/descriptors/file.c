/*
 * Files, directories, devices and terminals: opened again by name.
 *
 * Opening never creates, truncates or blocks; what is there is checked to be what was there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "restore/descriptors/object.h"
#include "restore/descriptors/private.h"
#include "restore/descriptors/replaced.h"

#define FILE_FLAGS (O_ACCMODE | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC | O_NOATIME | O_LARGEFILE)
#define NOT_A_MEMFD (~0U)

/* Sets entry->temporary to `fd`, moved up. */
static int keep(struct restoration *restoration, struct entry *entry, int fd)
{
	entry->temporary = restore_move_up(restoration, fd);
	if (entry->temporary < 0)
		return restore_refuse(restoration, "cannot make descriptor %d (%s): %s", entry->record.number,
				      *entry->name ? entry->name : "no name", strerror(errno));
	return 0;
}

/* The name to open: /proc/PID of the program is /proc/self in the process that is to become it. */
static const char *path_of(const struct restoration *restoration, const struct entry *entry, char *buffer, size_t size)
{
	char own[32];
	int length = snprintf(own, sizeof(own), "/proc/%d/", restoration->pid);
	if (strncmp(entry->name, own, (size_t)length) != 0)
		return entry->name;
	snprintf(buffer, size, "/proc/self/%s", entry->name + length);
	return buffer;
}

/* Made by the kernel: inode numbers mean nothing there, and a file may well be absent. */
static bool is_kernel_file(const struct entry *entry)
{
	return strncmp(entry->name, "/proc/", 6) == 0 || strncmp(entry->name, "/sys/", 5) == 0;
}

static int open_name(const char *path, int flags)
{
	int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 && errno == EPERM && (flags & O_NOATIME)) /* for the owner only */
		fd = open(path, (flags & ~O_NOATIME) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd;
}

/* Another name in the same directory, as a log file gets one that is rotated by another program. */
static bool find_other_name(const struct entry *entry, char *path, size_t size)
{
	const char *slash = strrchr(entry->name, '/');
	struct dirent *found;
	struct stat status;
	bool same = false;
	snprintf(path, size, "%.*s", slash == entry->name ? 1 : (int)(slash - entry->name), entry->name);
	DIR *directory = opendir(path);
	while (directory != NULL && !same && (found = readdir(directory)) != NULL) {
		if (!restore_is_same_inode(entry->record.inode, found->d_ino))
			continue;
		snprintf(path, size, "%.*s/%s", (int)(slash - entry->name), entry->name, found->d_name);
		same = lstat(path, &status) == 0 && S_ISREG(status.st_mode) &&
		       restore_is_same_inode(entry->record.inode, status.st_ino);
	}
	if (directory != NULL)
		closedir(directory);
	return same;
}

/* Whether the name leads to another file than the one that was open, or nowhere. */
static bool is_elsewhere(const struct entry *entry, const char *path)
{
	struct stat status;
	return entry->record.kind == DESCRIPTOR_REGULAR && !is_kernel_file(entry) &&
	       (stat(path, &status) < 0 || !restore_is_same_inode(entry->record.inode, status.st_ino));
}

/* Opens by name what must be of the file type recorded. */
static int open_same_type(struct restoration *restoration, struct entry *entry, int flags, struct stat *status)
{
	char buffer[4096], other[4096 + 256];
	const char *path = path_of(restoration, entry, buffer, sizeof(buffer));
	if (is_elsewhere(entry, path) && find_other_name(entry, other, sizeof(other))) {
		restore_warn(restoration, "%s, which the program had open, is %s now", entry->name, other);
		path = other;
	}
	int found = flags & O_PATH ? lstat(path, status) : stat(path, status);
	if (flags & O_PATH && !(flags & O_NOFOLLOW))
		found = stat(path, status);
	if (found < 0)
		return restore_refuse(restoration, "%s, which the program had open: %s; put it back and try again",
				      entry->name, strerror(errno));
	/* Looked at before it is opened: opening a device or FIFO in its place could have effects. */
	if ((status->st_mode & S_IFMT) != (entry->record.mode & S_IFMT))
		return restore_refuse(restoration,
				      "%s, which the program had open, is another type of file now; put it back "
				      "and try again",
				      entry->name);
	int fd = open_name(path, flags);
	if (fd < 0)
		return restore_refuse(restoration, "cannot open %s as the program had it: %s", entry->name,
				      strerror(errno));
	if (keep(restoration, entry, fd) < 0)
		return -1;
	return fstat(entry->temporary, status) < 0 ? restore_refuse(restoration, "%s: %s", entry->name, strerror(errno))
						   : 0;
}

/* ---- regular files ---- */

static int check_regular(struct restoration *restoration, const struct entry *entry, const struct stat *status)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	if (!S_ISREG(status->st_mode) || !restore_is_same_inode(entry->record.inode, status->st_ino))
		return restore_refuse(restoration,
				      "%s, which the program had open, has been replaced since the checkpoint; "
				      "put the old file back and try again",
				      entry->name);
	if ((uint64_t)status->st_size >= file->size)
		return 0;
	if (!file->writable)
		return restore_refuse(restoration,
				      "%s, which the program was reading, is shorter than at the checkpoint "
				      "(%lld bytes, was %llu); put the old contents back and try again",
				      entry->name, (long long)status->st_size, (unsigned long long)file->size);
	restore_warn(restoration,
		     "%s, which the program was writing, is shorter than at the checkpoint (%lld bytes, was %llu)",
		     entry->name, (long long)status->st_size, (unsigned long long)file->size);
	return 0;
}

int restore_open_regular(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	struct stat status;
	int flags = (int)entry->record.flags & FILE_FLAGS;
	const struct shared_object *object = restore_object_find(entry->record.device, entry->record.inode);
	if (object != NULL) { /* mapped, too; its length comes back with its contents */
		if (keep(restoration, entry, restore_reopen(object->fd, flags)) < 0)
			return -1;
		lseek(entry->temporary, file->offset, SEEK_SET);
		return 0;
	}
	if (open_same_type(restoration, entry, flags, &status) < 0)
		return is_kernel_file(entry) && entry->temporary < 0
			       ? restore_lose(restoration, entry, "the kernel does not show it now")
			       : -1;
	if (!is_kernel_file(entry) && check_regular(restoration, entry, &status) < 0)
		return -1;
	if (lseek(entry->temporary, file->offset, SEEK_SET) < 0 && file->offset != 0)
		return restore_refuse(restoration, "cannot go to byte %lld of %s: %s", (long long)file->offset,
				      entry->name, strerror(errno));
	return 0;
}

int restore_commit_regular(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	struct stat status;
	if (!file->writable || is_kernel_file(entry) ||
	    restore_object_find(entry->record.device, entry->record.inode) != NULL)
		return 0;
	if (fstat(entry->temporary, &status) == 0 && (uint64_t)status.st_size <= file->size)
		return 0;
	if (ftruncate(entry->temporary, (off_t)file->size) < 0)
		return restore_refuse(restoration, "cannot cut %s back to %llu bytes: %s", entry->name,
				      (unsigned long long)file->size, strerror(errno));
	return 0;
}

/* ---- files without a name ---- */

/* "/memfd:NAME (deleted)" or "/dir/NAME (deleted)" gives NAME. */
static void memfd_name(const struct entry *entry, char *name, size_t size)
{
	const char *start = strncmp(entry->name, "/memfd:", 7) == 0 ? entry->name + 7
			    : strrchr(entry->name, '/')             ? strrchr(entry->name, '/') + 1
								    : entry->name;
	snprintf(name, size, "%s", start);
	char *tail = strstr(name, " (deleted)");
	if (tail != NULL)
		*tail = '\0';
}

static bool write_all(int fd, const uint8_t *bytes, uint64_t length, uint64_t offset)
{
	for (uint64_t at = 0; at < length;) {
		ssize_t part = pwrite(fd, bytes + at, length - at, (off_t)(offset + at));
		if (part <= 0)
			return false;
		at += (uint64_t)part;
	}
	return true;
}

static bool write_extents(int fd, const struct entry *entry)
{
	struct descriptor_extent extent;
	size_t at = sizeof(struct descriptor_file);
	for (; at < entry->record.payload_length; at += sizeof(extent) + ((extent.length + 7) & ~7UL)) {
		memcpy(&extent, entry->payload + at, sizeof(extent));
		if (!write_all(fd, entry->payload + at + sizeof(extent), extent.length, extent.offset))
			return false;
	}
	return true;
}

/* Seals that forbid mapping what the program has mapped wait until it is mapped. */
static bool seal(int fd, const struct entry *entry, struct shared_object *object)
{
	uint32_t seals = PAYLOAD(entry, struct descriptor_file)->seals;
	if (seals == NOT_A_MEMFD)
		return true;
	if (object != NULL && (seals & F_SEAL_FUTURE_WRITE)) {
		object->late_seals = seals & (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
		seals &= ~object->late_seals;
	}
	return seals == 0 || fcntl(fd, F_ADD_SEALS, (int)seals) == 0;
}

/* A file in memory with the contents; `fd` is at a low number and open for both. -1 on failure. */
static int make_file(const struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	char name[200];
	memfd_name(entry, name, sizeof(name));
	int fd = memfd_create(name, MFD_CLOEXEC | (file->seals != NOT_A_MEMFD ? MFD_ALLOW_SEALING : 0));
	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)file->size) < 0 || !write_extents(fd, entry) || !seal(fd, entry, NULL)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* One that is mapped, too: that has been made, with what the mappings have of its contents. */
static int complete_object(const struct entry *entry, struct shared_object *object)
{
	if (!write_extents(object->fd, entry) || !seal(object->fd, entry, object))
		return -1;
	return dup(object->fd);
}

int restore_open_deleted(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	const struct entry *same = restore_same_object(restoration, entry);
	int flags = (int)entry->record.flags & (O_ACCMODE | O_APPEND | O_NOATIME);
	struct shared_object *object = same ? NULL : restore_object_find(entry->record.device, entry->record.inode);
	int made = same ? -1 : object ? complete_object(entry, object) : make_file(entry);
	int fd = restore_reopen(same ? same->temporary : made, flags);
	if (made >= 0)
		close(made);
	if (keep(restoration, entry, fd) < 0)
		return -1;
	lseek(entry->temporary, file->offset, SEEK_SET);
	return 0;
}

/* ---- directories, devices, O_PATH ---- */

int restore_open_directory(struct restoration *restoration, struct entry *entry)
{
	struct stat status;
	if (open_same_type(restoration, entry, O_RDONLY | O_DIRECTORY, &status) < 0)
		return is_kernel_file(entry) && entry->temporary < 0
			       ? restore_lose(restoration, entry, "the kernel does not show it now")
			       : -1;
	/* ext4 forgets to start over at rewinddir() in a directory whose first reading was one at its end. */
	char entries[4096];
	if (PAYLOAD(entry, struct descriptor_file)->offset != 0)
		syscall(SYS_getdents64, entry->temporary, entries, sizeof(entries));
	/* A place in a directory is a cookie of the file system; one that is refused starts over. */
	lseek(entry->temporary, PAYLOAD(entry, struct descriptor_file)->offset, SEEK_SET);
	return 0;
}

int restore_open_device(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	struct stat status;
	if (open_same_type(restoration, entry, (int)entry->record.flags & FILE_FLAGS, &status) < 0)
		return -1;
	if (status.st_rdev != file->device_number)
		return restore_refuse(restoration, "%s, which the program had open, is another device now",
				      entry->name);
	lseek(entry->temporary, file->offset, SEEK_SET);
	return 0;
}

int restore_open_path(struct restoration *restoration, struct entry *entry)
{
	struct stat status;
	return open_same_type(restoration, entry, O_PATH | ((int)entry->record.flags & (O_NOFOLLOW | O_DIRECTORY)),
			      &status);
}

/* ---- terminals and what else becomes ours ---- */

int restore_stand_in(struct restoration *restoration, struct entry *entry, int own)
{
	entry->stands_in = true;
	return keep(restoration, entry, dup(restoration->own[own]));
}

bool restore_is_stand_in(struct restoration *restoration, const struct entry *entry)
{
	const struct entry *first = entry;
	if (entry->record.number > 2)
		return false;
	if (entry->record.shared_with >= 0)
		first = restore_find(restoration, entry->record.shared_with);
	switch (first->record.kind) {
	case DESCRIPTOR_TERMINAL: return restore_master_of(restoration, first) == NULL;
	case DESCRIPTOR_PIPE: return !PAYLOAD(first, struct descriptor_pipe)->inside;
	case DESCRIPTOR_CONNECTION: /* a service's output to the journal, a child of a job runner */
		return PAYLOAD(first, struct descriptor_socket)->family == AF_UNIX &&
		       PAYLOAD(first, struct descriptor_socket)->peer_inode == 0;
	default: return false;
	}
}
