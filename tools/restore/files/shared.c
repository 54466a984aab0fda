/*
 * Making shared memory again; see shared.h.
 *
 * What had no name is a memfd now, with the pages of the store. A file in /dev/shm and a System V
 * segment have outlived the process, with what was written to them since the checkpoint: they get
 * their contents back, unless somebody else uses them. The pages are written here, through a
 * mapping of the object, so that the restorer only maps it.
 */
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "common/report.h"
#include "descriptor/descriptor.h"
#include "restore/descriptors/object.h"
#include "restore/descriptors/replaced.h"
#include "restore/files/others.h"

#define NOT_A_MEMFD (~0U)
#define SEGMENT_MODE 0777
#define NEXT_SEGMENT "/proc/sys/kernel/shm_next_id"

#ifndef SHM_DEST
#define SHM_DEST 01000
#endif

/* A System V segment of the program. */
struct segment {
	struct manifest_segment record;
	int now;   /* its identifier here; -1: not made yet */
	bool kept; /* it is the old one */
	bool busy; /* others are attached to the old one */
	bool own;  /* the program has made the old one */
};

static struct segment *segments;
static uint32_t segment_count;
static pid_t program;          /* its number, as which it has made segments */
static time_t checkpoint_time; /* of CLOCK_REALTIME */

/* ---- going through the image ---- */

static const struct manifest_region *next_region(const struct image *image, size_t *cursor, uint32_t *length)
{
	return image_next(image, cursor, MANIFEST_REGION, length);
}

static bool is_same(const struct manifest_region *a, const struct manifest_region *b)
{
	return a->inode == b->inode && a->device == b->device;
}

static bool belongs_to_object(const struct manifest_region *region)
{
	return region->inode != 0 && (region->kind == REGION_ANONYMOUS_SHARED || (region->flags & REGION_OBJECT));
}

/* The record of the first descriptor of this file without a name. */
static const struct manifest_descriptor *find_descriptor(const struct image *image, uint64_t device, uint64_t inode,
							 struct descriptor_file *file)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_descriptor *record;
	while ((record = image_next(image, &cursor, MANIFEST_DESCRIPTOR, &length)) != NULL) {
		if (length < sizeof(*record) + sizeof(*file) || record->kind != DESCRIPTOR_DELETED ||
		    record->inode != inode || record->device != device || record->shared_with != -1)
			continue;
		memcpy(file, (const char *)record + sizeof(*record), sizeof(*file));
		return record;
	}
	return NULL;
}

/* How many regions the object has, and where the last of them ends in it. */
static uint32_t measure(const struct image *image, const struct manifest_region *object, uint64_t *end)
{
	size_t cursor = 0;
	uint32_t length, count = 0;
	const struct manifest_region *region;
	*end = 0;
	while ((region = next_region(image, &cursor, &length)) != NULL) {
		if (!belongs_to_object(region) || !is_same(region, object))
			continue;
		uint64_t region_end = region->offset + (region->end - region->start);
		if (region_end > *end)
			*end = region_end;
		count++;
	}
	return count;
}

/* ---- contents ---- */

/* Where the contents of an object go. */
struct target {
	int fd;       /* written to: a full file system is then an error, and no SIGBUS */
	char *memory; /* not NULL: instead of that, what can only be mapped */
	uint64_t size;
};

static void copy_page(const struct target *target, uint64_t offset, const void *page)
{
	uint64_t length = target->size - offset < RT_PAGE_SIZE ? target->size - offset : RT_PAGE_SIZE;
	if (page == NULL)
		refuse("the store lost a page of shared memory: a defect");
	if (target->memory != NULL)
		memcpy(target->memory + offset, page, length);
	else if (pwrite(target->fd, page, length, (off_t)offset) != (ssize_t)length)
		refuse("cannot put the contents of shared memory back: %s", strerror(errno));
}

/* Copies the pages of one region. */
static void copy_region(const struct image *image, const struct manifest_region *region, const struct target *target)
{
	uint64_t page;
	for (uint64_t at = region->start; rt_store_next_page(image->store, at, region->end, &page);
	     at = page + RT_PAGE_SIZE) {
		uint64_t offset = region->offset + (page - region->start);
		if (offset >= target->size)
			return; /* the file is shorter than the mapping */
		copy_page(target, offset, rt_store_page(image->store, page));
	}
}

static void copy_regions(const struct image *image, const struct manifest_region *object, const struct target *target)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *region;
	while ((region = next_region(image, &cursor, &length)) != NULL)
		if (is_same(region, object) &&
		    (region->kind == REGION_ANONYMOUS_SHARED || region->kind == REGION_FILE_MEMORY))
			copy_region(image, region, target);
}

/* Huge pages can only be mapped; those of this file have been reserved. */
static void fill_huge(const struct image *image, const struct manifest_region *object, int fd, uint64_t size)
{
	struct target target = {.fd = -1, .size = size};
	target.memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (target.memory == MAP_FAILED)
		refuse("cannot map shared memory of %lu bytes: %s", (unsigned long)size, strerror(errno));
	copy_regions(image, object, &target);
	munmap(target.memory, size);
}

/* ---- memory without a name ---- */

/* "/memfd:NAME (deleted)" or "/dir/NAME (deleted)" gives NAME. */
static void plain_name(const char *path, char *name, size_t size)
{
	const char *slash = strrchr(path, '/');
	const char *start = strncmp(path, "/memfd:", 7) == 0 ? path + 7 : slash ? slash + 1 : path;
	snprintf(name, size, "%s", start);
	char *tail = strstr(name, " (deleted)");
	if (tail != NULL)
		*tail = '\0';
}

static int move_up(int fd, int lowest_fd)
{
	int high = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, lowest_fd);
	if (high < 0)
		refuse("cannot make shared memory: %s", strerror(errno));
	close(fd);
	return high;
}

/* A memfd in huge pages, all of which can be had; -1: there are too few. */
static int make_huge(const char *name, unsigned int flags, uint32_t shift, uint64_t size)
{
	int fd = memfd_create(name, flags | MFD_HUGETLB | shift << MFD_HUGE_SHIFT);
	void *memory = MAP_FAILED;
	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED) {
		munmap(memory, size);
		return fd;
	}
	report("too few huge pages: shared memory that was in such is in ordinary ones now");
	if (fd >= 0)
		close(fd);
	return -1;
}

static void make_memory(const struct image *image, const struct manifest_region *region, const char *path,
			int lowest_fd)
{
	struct descriptor_file file;
	char name[200];
	uint64_t size;
	uint32_t count = measure(image, region, &size);
	const struct manifest_descriptor *descriptor = find_descriptor(image, region->device, region->inode, &file);
	if (descriptor == NULL && count == 1 && strcmp(path, "/dev/zero (deleted)") == 0)
		return; /* one anonymous mapping */
	uint32_t seals = descriptor ? file.seals : NOT_A_MEMFD;
	if (descriptor != NULL)
		size = file.size;
	plain_name(path, name, sizeof(name));
	unsigned int flags = MFD_CLOEXEC | (seals != NOT_A_MEMFD ? MFD_ALLOW_SEALING : 0);
	int huge = region->page_shift ? make_huge(name, flags, region->page_shift, size) : -1;
	int fd = move_up(huge < 0 ? memfd_create(name, flags) : huge, lowest_fd);
	if (ftruncate(fd, (off_t)size) < 0)
		refuse("cannot make shared memory of %lu bytes: %s", (unsigned long)size, strerror(errno));
	if (huge >= 0)
		fill_huge(image, region, fd, size);
	else
		copy_regions(image, region, &(struct target){.fd = fd, .size = size});
	/* The rest of its contents and its seals come with the descriptor. */
	if (restore_object_add(region->device, region->inode, fd) == NULL)
		refuse("out of memory");
}

/* ---- files in memory ---- */

static int make_file_again(const struct manifest_region *region, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		refuse("%s, which the program has mapped, is gone and cannot be made again: %s", path, strerror(errno));
	if (ftruncate(fd, (off_t)region->size) < 0)
		refuse("%s: %s", path, strerror(errno));
	return fd;
}

static void open_file_in_memory(const struct manifest_region *region, const char *path, int lowest_fd)
{
	struct stat status;
	int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		fd = make_file_again(region, path);
	else if (fd < 0)
		refuse("%s, which the program has mapped: %s", path, strerror(errno));
	else if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
		 !restore_is_same_inode(region->inode, status.st_ino))
		refuse("%s: mapped by the program, replaced since the checkpoint: put the old file back", path);
	if (restore_object_add(region->device, region->inode, move_up(fd, lowest_fd)) == NULL)
		refuse("out of memory");
}

/* Empties what the mapping covers: pages that are not in the store are zero. */
static void clear_range(int fd, uint64_t start, uint64_t end)
{
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)(end - start)) < 0)
		refuse("cannot put the contents of a file in memory back: %s", strerror(errno));
}

static void put_file_back(const struct image *image, const struct manifest_region *region, const char *path)
{
	const struct shared_object *object = restore_object_find(region->device, region->inode);
	struct stat status;
	uint64_t end = region->offset + (region->end - region->start);
	if (others_have_mapped(region->device, region->inode)) {
		report("%s is mapped by others, too: its contents are left as they are", path);
		return;
	}
	if (fstat(object->fd, &status) < 0 ||
	    ((uint64_t)status.st_size != region->size && ftruncate(object->fd, (off_t)region->size) < 0))
		refuse("%s: %s", path, strerror(errno));
	clear_range(object->fd, region->offset, end);
	copy_region(image, region, &(struct target){.fd = object->fd, .size = region->size});
}

/* ---- System V segments ---- */

static struct segment *find_segment(const struct manifest_region *region)
{
	for (uint32_t i = 0; region->kind == REGION_ANONYMOUS_SHARED && i < segment_count; i++)
		if (segments[i].record.inode == region->inode && segments[i].record.device == region->device)
			return &segments[i];
	return NULL;
}

/*
 * Whether the segment that has this identifier now is the one of the record, as far as its maker tells. Number 0 is
 * somebody outside of the pid namespace, of ours or of the one that the program had: then it must be as old, because
 * identifiers begin anew with the machine.
 */
static bool is_same_maker(const struct manifest_segment *record, const struct shmid_ds *status)
{
	if (status->shm_cpid != 0 && record->creator != 0)
		return status->shm_cpid == record->creator;
	return status->shm_ctime <= checkpoint_time;
}

/* Whether the segment of this identifier is still the program's, and who uses it. */
static void look_at_segment(struct segment *segment)
{
	struct shmid_ds status;
	const struct manifest_segment *record = &segment->record;
	segment->now = -1;
	segment->kept = shmctl(record->id, IPC_STAT, &status) == 0 && status.shm_segsz == record->size &&
			status.shm_perm.__key == record->key && is_same_maker(record, &status);
	segment->busy = segment->kept && status.shm_nattch > 0;
	segment->own = segment->kept && status.shm_cpid == program;
}

static void load_segments(const struct image *image)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_segment *record;
	segment_count = 0;
	program = image->process->pid;
	checkpoint_time = image->status.commit_time_ns / 1000000000;
	while ((record = image_next(image, &cursor, MANIFEST_SEGMENT, &length)) != NULL) {
		segments = realloc(segments, (segment_count + 1) * sizeof(*segments));
		if (segments == NULL)
			refuse("out of memory");
		segments[segment_count] = (struct segment){.record = *record};
		look_at_segment(&segments[segment_count++]);
	}
}

/* Asks the kernel for this identifier the next time. */
static void choose_identifier(int id)
{
	int fd = open(NEXT_SEGMENT, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	dprintf(fd, "%d", id);
	close(fd);
}

static void make_segment(struct segment *segment)
{
	const struct manifest_segment *record = &segment->record;
	bool private = segment->busy || (record->mode & SHM_DEST);
	int flags = (int)(record->mode & SEGMENT_MODE) | IPC_CREAT | IPC_EXCL;
	if (!segment->busy)
		choose_identifier(record->id);
	segment->now = shmget(private ? IPC_PRIVATE : record->key, record->size, flags);
	if (segment->now < 0 && !private)
		segment->now = shmget(IPC_PRIVATE, record->size, flags);
	if (segment->now < 0)
		refuse("cannot make a System V segment of %lu bytes: %s", (unsigned long)record->size, strerror(errno));
	if (segment->busy)
		report("System V segment %d is used by others, too: the program gets one of its own", record->id);
	else if (segment->now != record->id)
		report("System V segment %d is %d now: this number may not be chosen here", record->id, segment->now);
}

static void fill_segment(const struct image *image, const struct segment *segment)
{
	const struct manifest_region key = {.device = segment->record.device, .inode = segment->record.inode};
	struct target target = {.fd = -1, .size = RT_PAGE_ALIGN_UP(segment->record.size)};
	target.memory = shmat(segment->now, NULL, 0);
	if (target.memory == (void *)-1)
		refuse("System V segment %d: %s", segment->now, strerror(errno));
	if (segment->kept && !segment->busy)
		memset(target.memory, 0, target.size);
	copy_regions(image, &key, &target);
	/* It stays attached until the restorer attaches it: one to be removed would go with the last. */
}

/* ---- the steps ---- */

bool shared_region_is_segment(const struct manifest_region *region)
{
	return find_segment(region) != NULL;
}

void shared_make(const struct image *image, int lowest_fd)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *region;
	load_segments(image);
	while ((region = next_region(image, &cursor, &length)) != NULL) {
		const char *path = image_region_path(region, length);
		if (restore_object_find(region->device, region->inode) != NULL)
			continue;
		if (belongs_to_object(region) && !shared_region_is_segment(region))
			make_memory(image, region, path, lowest_fd);
		else if (region->kind == REGION_FILE_MEMORY)
			open_file_in_memory(region, path, lowest_fd);
	}
}

void shared_put_back(const struct image *image)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *region;
	while ((region = next_region(image, &cursor, &length)) != NULL)
		if (region->kind == REGION_FILE_MEMORY)
			put_file_back(image, region, image_region_path(region, length));
	for (uint32_t i = 0; i < segment_count; i++) {
		if (segments[i].kept && !segments[i].busy)
			segments[i].now = segments[i].record.id;
		else
			make_segment(&segments[i]);
		fill_segment(image, &segments[i]);
	}
}

int shared_region_fd(const struct manifest_region *region)
{
	bool shared = belongs_to_object(region) || region->kind == REGION_FILE_MEMORY;
	const struct shared_object *object = shared ? restore_object_find(region->device, region->inode) : NULL;
	if (object == NULL && (region->flags & REGION_OBJECT))
		refuse("the store has a mapping of shared memory and not the memory: a defect");
	return object ? object->fd : -1;
}

int shared_region_segment(const struct manifest_region *region, bool *remove)
{
	const struct segment *segment = find_segment(region);
	*remove = segment != NULL && (segment->record.mode & SHM_DEST);
	return segment ? segment->now : -1;
}

/* ---- who else uses it ---- */

bool shared_has_files(const struct image *image)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *region;
	while ((region = next_region(image, &cursor, &length)) != NULL)
		if (region->kind == REGION_FILE_MEMORY)
			return true;
	return false;
}

void shared_look_around(const struct image *image)
{
	load_segments(image);
}

bool shared_needs_ipc_namespace(void)
{
	for (uint32_t i = 0; i < segment_count; i++)
		if (!segments[i].kept)
			return true;
	return false;
}

void shared_remove_outside(void)
{
	for (uint32_t i = 0; i < segment_count; i++) {
		look_at_segment(&segments[i]);
		if (segments[i].own && !segments[i].busy)
			shmctl(segments[i].record.id, IPC_RMID, NULL);
	}
}
