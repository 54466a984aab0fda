/*
 * Files, directories, devices, terminals and pipes: everything with a file type but sockets.
 *
 * A file is captured by name, not by contents: offset and length are what changes with use. A
 * file that no name leads to (unlinked, O_TMPFILE, memfd) carries its contents when it is small.
 * Unread pipe data is copied with tee(), which consumes nothing.
 */
#include <asm/ioctls.h>
#include <limits.h>
#include <linux/termios.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/message.h"
#include "descriptor/table.h"
#include "memory/region.h"

#define CONTENTS_LIMIT (1024 * 1024)
#define CONTENTS_CHUNK (64 * 1024)
#define MEMORY_DEVICES 1 /* major number of null, zero, full, random, urandom */
#define NOT_A_MEMFD (~0U)
#define SPLICE_NONBLOCK 2

static bool starts_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *text, const char *suffix)
{
	size_t length = strlen(text), tail = strlen(suffix);
	return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

/* Whether the name leads to the object. " (deleted)" alone says little: it may be part of a name,
 * and a file that has lost this name may have another. */
static bool name_leads_here(const struct descriptor_table *table, const struct descriptor *descriptor)
{
	const char *name = rt_descriptor_name(table, descriptor);
	struct stat status;
	if (descriptor->links == 0)
		return false;
	if (!ends_with(name, " (deleted)"))
		return true;
	return rt_sys_fstatat(AT_FDCWD, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_ino == descriptor->inode;
}

static uint32_t recognise_character_device(struct descriptor *descriptor, const char *name)
{
	struct termios settings;
	if (major(descriptor->device_number) == MEMORY_DEVICES)
		return DESCRIPTOR_DEVICE;
	if (rt_sys_ioctl(descriptor->number, TCGETS, &settings) == 0)
		return ends_with(name, "ptmx") ? DESCRIPTOR_MASTER : DESCRIPTOR_TERMINAL;
	descriptor->reason = "cannot be restored: the state of this device is not known";
	return DESCRIPTOR_LOST;
}

static uint32_t recognise_type(struct descriptor_table *table, struct descriptor *descriptor)
{
	const char *name = rt_descriptor_name(table, descriptor);
	descriptor->memfd = S_ISREG(descriptor->mode) && starts_with(name, "/memfd:");
	if (S_ISFIFO(descriptor->mode) && !(descriptor->flags & O_PATH) && starts_with(name, "pipe:["))
		return DESCRIPTOR_PIPE;
	if (*name != '/') {
		descriptor->reason = "cannot be restored: it has no path";
		return DESCRIPTOR_LOST;
	}
	if (rt_descriptor_is_queue(descriptor))
		return DESCRIPTOR_QUEUE;
	if (S_ISCHR(descriptor->mode) && !(descriptor->flags & O_PATH))
		return recognise_character_device(descriptor, name);
	if (S_ISREG(descriptor->mode) && !(descriptor->flags & O_PATH) &&
	    (descriptor->memfd || !name_leads_here(table, descriptor)))
		return DESCRIPTOR_DELETED;
	if (!name_leads_here(table, descriptor)) {
		descriptor->reason = "cannot be restored: its path is gone";
		return DESCRIPTOR_LOST;
	}
	if (descriptor->flags & O_PATH)
		return DESCRIPTOR_PATH;
	switch (descriptor->mode & S_IFMT) {
	case S_IFDIR: return DESCRIPTOR_DIRECTORY;
	case S_IFBLK: return DESCRIPTOR_DEVICE;
	case S_IFIFO: return DESCRIPTOR_FIFO;
	default: return DESCRIPTOR_REGULAR;
	}
}

void rt_descriptor_recognise_file(struct descriptor_table *table, struct descriptor *descriptor)
{
	if (rt_descriptor_read_name(table, descriptor) < 0) {
		descriptor->kind = DESCRIPTOR_LOST;
		descriptor->reason = "cannot be restored: its name cannot be read";
		return;
	}
	descriptor->kind = recognise_type(table, descriptor);
}

/* ---- files ---- */

static struct descriptor_file describe_file(const struct descriptor *descriptor)
{
	off_t offset = rt_sys_lseek(descriptor->number, 0, SEEK_CUR);
	return (struct descriptor_file){
		.offset = offset < 0 ? 0 : offset,
		.size = descriptor->size,
		.device_number = descriptor->device_number,
		.writable = (descriptor->flags & O_ACCMODE) != O_RDONLY && S_ISREG(descriptor->mode),
		.seals = NOT_A_MEMFD,
	};
}

int rt_descriptor_capture_file(struct descriptor_table *table, struct descriptor *descriptor,
			       struct manifest_writer *writer)
{
	(void)table;
	struct descriptor_file file = describe_file(descriptor);
	rt_manifest_put(writer, &file, sizeof(file));
	return 0;
}

void rt_descriptors_set_regions(struct descriptor_table *table, const struct region_table *regions)
{
	table->regions = regions;
}

bool rt_descriptors_hold(const struct descriptor_table *table, uint64_t device, uint64_t inode)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct descriptor *descriptor = &table->entries[i];
		struct stat status;
		if (descriptor->inode == inode && descriptor->device == device &&
		    descriptor->kind == DESCRIPTOR_DELETED && rt_sys_fstat(descriptor->number, &status) == 0 &&
		    status.st_ino == inode && status.st_dev == device && status.st_size <= CONTENTS_LIMIT)
			return true;
	}
	return false;
}

/* Whether a mapping captures the byte at `at`, and up to where that is so. */
static bool is_mapped(const struct descriptor_table *table, const struct descriptor *descriptor, uint64_t at,
		      uint64_t *end)
{
	*end = descriptor->size;
	return table->regions != NULL &&
	       rt_regions_cover(table->regions, descriptor->device, descriptor->inode, at, descriptor->size, end);
}

static bool is_zero(const char *bytes, size_t length)
{
	return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static int put_piece(struct descriptor_table *table, int fd, uint64_t start, uint64_t end,
		     struct manifest_writer *writer)
{
	for (uint64_t at = start; at < end;) {
		size_t wanted = end - at < CONTENTS_CHUNK ? end - at : CONTENTS_CHUNK;
		ssize_t length = rt_sys_pread(fd, table->text.bytes, wanted, (off_t)at);
		if (length <= 0)
			return length < 0 ? (int)length : -EIO;
		struct descriptor_extent extent = {.offset = at, .length = (uint64_t)length};
		at += (uint64_t)length;
		if (is_zero(table->text.bytes, (size_t)length))
			continue;
		rt_manifest_put(writer, &extent, sizeof(extent));
		rt_manifest_put(writer, table->text.bytes, (size_t)length);
		rt_descriptor_pad(writer);
	}
	return 0;
}

static int put_contents(struct descriptor_table *table, const struct descriptor *descriptor, int fd,
			struct manifest_writer *writer)
{
	if (rt_descriptor_reserve(&table->text, CONTENTS_CHUNK) < 0)
		return -ENOMEM;
	int result = 0;
	for (uint64_t at = 0, end; at < descriptor->size && result == 0; at = end)
		if (!is_mapped(table, descriptor, at, &end))
			result = put_piece(table, fd, at, end, writer);
	return result;
}

/* Bytes that no mapping captures. */
static uint64_t unmapped_size(const struct descriptor_table *table, const struct descriptor *descriptor)
{
	uint64_t size = 0;
	for (uint64_t at = 0, end; at < descriptor->size; at = end)
		if (!is_mapped(table, descriptor, at, &end))
			size += end - at;
	return size;
}

/* A write-only or O_DIRECT descriptor cannot be read: the file is opened once more through it. */
static int put_contents_reopened(struct descriptor_table *table, const struct descriptor *descriptor,
				 struct manifest_writer *writer)
{
	char number[16];
	rt_format(number, sizeof(number), "%d", descriptor->number);
	int fd = rt_descriptor_open_file(rt_descriptor_directory(table, descriptor->number), number, O_RDONLY);
	if (fd < 0)
		return fd;
	int result = put_contents(table, descriptor, fd, writer);
	rt_sys_close(fd);
	return result;
}

int rt_descriptor_capture_deleted(struct descriptor_table *table, struct descriptor *descriptor,
				  struct manifest_writer *writer)
{
	struct descriptor_file file = describe_file(descriptor);
	if (unmapped_size(table, descriptor) > CONTENTS_LIMIT)
		return rt_descriptor_lost(
			descriptor, "cannot be restored: a file without a name, more than 1 MiB of it not mapped");
	int seals = descriptor->memfd ? rt_sys_fcntl(descriptor->number, F_GET_SEALS, 0) : -EINVAL;
	file.seals = seals < 0 ? NOT_A_MEMFD : (uint32_t)seals;
	rt_manifest_put(writer, &file, sizeof(file));
	bool readable = (descriptor->flags & (O_ACCMODE | O_DIRECT)) == O_RDONLY ||
			(descriptor->flags & (O_ACCMODE | O_DIRECT)) == O_RDWR;
	int result = readable ? put_contents(table, descriptor, descriptor->number, writer)
			      : put_contents_reopened(table, descriptor, writer);
	if (result == -ENOMEM || result == -EMFILE)
		return result;
	if (result < 0)
		return rt_descriptor_lost(descriptor, "cannot be restored: its contents cannot be read");
	return 0;
}

/* ---- pipes ---- */

static bool can_read(const struct descriptor *descriptor)
{
	return (descriptor->flags & O_ACCMODE) != O_WRONLY;
}

static bool can_write(const struct descriptor *descriptor)
{
	return (descriptor->flags & O_ACCMODE) != O_RDONLY;
}

/* What the process holds of one pipe. */
struct pipe_ends {
	bool readable, writable, packets;
	int first_reader; /* lowest number that can read */
};

static struct pipe_ends find_ends(const struct descriptor_table *table, const struct descriptor *pipe)
{
	struct pipe_ends ends = {.first_reader = INT_MAX};
	size_t first, count = rt_descriptor_same_inode(table, pipe->device, pipe->inode, &first);
	for (size_t i = first; i < first + count; i++) {
		const struct descriptor *end = &table->entries[table->order[i]];
		if (end->flags & O_PATH)
			continue;
		ends.writable |= can_write(end);
		ends.packets |= can_write(end) && (end->flags & O_DIRECT);
		if (!can_read(end))
			continue;
		ends.readable = true;
		if (end->number < ends.first_reader)
			ends.first_reader = end->number;
	}
	return ends;
}

/* Each read of a packet pipe gives one packet, the copies keep their boundaries. */
static int put_copy(struct descriptor_table *table, int copy, size_t length, struct manifest_writer *writer)
{
	if (rt_descriptor_reserve(&table->text, CONTENTS_CHUNK) < 0)
		return -ENOMEM;
	while (length > 0) {
		ssize_t part = rt_sys_read(copy, table->text.bytes, CONTENTS_CHUNK);
		if (part <= 0)
			return -EIO;
		rt_descriptor_put_message(writer, table->text.bytes, (size_t)part, 0);
		length -= (size_t)part;
	}
	return 0;
}

static int copy_unread(struct descriptor_table *table, int pipe, size_t unread, uint32_t capacity,
		       struct manifest_writer *writer)
{
	int copy[2];
	int result = rt_descriptor_open_pipe(copy);
	if (result < 0)
		return result;
	rt_sys_fcntl(copy[1], F_SETPIPE_SZ, capacity);
	/* A writer outside may have added some meanwhile. */
	ssize_t length = rt_sys_tee(pipe, copy[1], INT_MAX, SPLICE_NONBLOCK);
	result = length >= (ssize_t)unread ? put_copy(table, copy[0], (size_t)length, writer) : -EIO;
	rt_sys_close(copy[0]);
	rt_sys_close(copy[1]);
	return result;
}

int rt_descriptor_capture_pipe(struct descriptor_table *table, struct descriptor *descriptor,
			       struct manifest_writer *writer)
{
	struct pipe_ends ends = find_ends(table, descriptor);
	int capacity = rt_sys_fcntl(descriptor->number, F_GETPIPE_SZ, 0);
	struct descriptor_pipe pipe = {
		.inside = ends.readable && ends.writable,
		.capacity = capacity < 0 ? 0 : (uint32_t)capacity,
		.packets = ends.packets,
	};
	int unread = 0;
	rt_manifest_put(writer, &pipe, sizeof(pipe));
	/* What a child or another program has sent is still there; 0, 1 and 2 have stand-ins. */
	if (ends.first_reader != descriptor->number || (!pipe.inside && descriptor->number <= 2))
		return 0;
	if (rt_sys_ioctl(descriptor->number, FIONREAD, &unread) < 0 || unread == 0)
		return 0;
	int result = copy_unread(table, descriptor->number, (size_t)unread, pipe.capacity, writer);
	if (result == -ENOMEM || result == -EMFILE)
		return result;
	if (result == 0)
		return 0;
	return rt_descriptor_lost(descriptor, "cannot be restored: its unread contents cannot be copied "
					      "(the user's limit on pipe memory?)");
}
