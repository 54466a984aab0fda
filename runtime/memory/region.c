/* The walk over the mappings; see region.h. Raw system calls only: threads may be parked. */
#include "region.h"

#include <errno.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "base/memory.h"
#include "base/parse.h"
#include "base/sys.h"
#include "base/uapi.h"
#include "files/build_id.h"
#include "layout.h"

#define FIRST_REGIONS 512
#define FIRST_NAMES 16384
#define NAME_SIZE 4096
#define DELETED " (deleted)"
/* The memory of a context of io_setup(): a file of the kernel's, which has no name. */
#define AIO_RING "/[aio] (deleted)"
#define TMPFS 0x01021994 /* statfs.f_type */
#define LOOK_BACK 256    /* shared mappings that are compared with a new one */

static int reserve_region(struct region_table *table)
{
	if (table->count < table->capacity)
		return 0;
	size_t capacity = table->capacity ? table->capacity * 2 : FIRST_REGIONS;
	struct region *grown = table->entries ? rt_memory_grow(table->entries, table->capacity * sizeof(struct region),
							       capacity * sizeof(struct region))
					      : rt_memory_map(capacity * sizeof(struct region));
	if (grown == NULL)
		return -ENOMEM;
	table->entries = grown;
	table->capacity = capacity;
	return 0;
}

static int reserve_name(struct region_table *table, size_t length)
{
	if (table->names_length + length + 1 <= table->names_capacity)
		return 0;
	size_t capacity = table->names_capacity ? table->names_capacity : FIRST_NAMES;
	while (capacity < table->names_length + length + 1)
		capacity *= 2;
	char *grown =
		table->names ? rt_memory_grow(table->names, table->names_capacity, capacity) : rt_memory_map(capacity);
	if (grown == NULL)
		return -ENOMEM;
	table->names = grown;
	table->names_capacity = capacity;
	return 0;
}

/* Stores a name in the table; neighbours often share one (segments of a library). */
static int put_name(struct region_table *table, struct region *region, const char *name)
{
	size_t length = strlen(name);
	region->name = 0;
	if (length == 0)
		return 0;
	if (table->count > 0) {
		const struct region *last = &table->entries[table->count - 1];
		if (strcmp(table->names + last->name, name) == 0) {
			region->name = last->name;
			return 0;
		}
	}
	if (reserve_name(table, length) < 0)
		return -ENOMEM;
	region->name = (uint32_t)table->names_length;
	memcpy(table->names + table->names_length, name, length + 1);
	table->names_length += length + 1;
	return 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);
	return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

static bool is_special(const char *name)
{
	return strncmp(name, "[vvar", 5) == 0 || strcmp(name, "[vdso]") == 0;
}

bool rt_region_has_file(const struct region_table *table, const struct region *region)
{
	const char *name = rt_region_name(table, region);
	if (name[0] != '/' || strcmp(name, AIO_RING) == 0)
		return false;
	return strncmp(name, "/dev/", 5) != 0 || strncmp(name, "/dev/shm/", 9) == 0;
}

/* Decides what a mapping is from what the kernel says of it. */
static void classify(struct region *region, const char *name)
{
	bool gone = ends_with(name, DELETED);
	region->capture_all = false;
	region->flags = 0;
	if (region->inode == 0) {
		region->kind = is_special(name) ? REGION_SPECIAL
			       : region->shared ? REGION_ANONYMOUS_SHARED
						: REGION_ANONYMOUS;
		if (strcmp(name, "[stack]") == 0)
			region->flags |= REGION_GROWSDOWN;
	} else if (region->shared && strcmp(name, AIO_RING) == 0) {
		region->kind = REGION_FILE_SHARED;
	} else if (region->shared) {
		/* /dev/zero, memfd and System V segments show as deleted files: the memory is all
		 * there is, and it is captured like private memory. */
		region->kind = gone                                   ? REGION_ANONYMOUS_SHARED
			       : region->in_memory && region->written ? REGION_FILE_MEMORY
								      : REGION_FILE_SHARED;
	} else {
		/* Private memory that a device makes: nothing but its name tells it from anonymous memory. */
		bool is_zero = strcmp(name, "/dev/zero") == 0;
		region->kind = gone || is_zero ? REGION_ANONYMOUS : REGION_FILE_PRIVATE;
		region->capture_all = gone;
	}
	region->tracked = region->kind != REGION_SPECIAL && region->kind != REGION_FILE_SHARED;
}

static bool is_same_object(const struct region *a, const struct region *b)
{
	return a->inode == b->inode && a->device_major == b->device_major && a->device_minor == b->device_minor;
}

static bool same_mapping(const struct region *a, const struct region *b)
{
	return a->start == b->start && a->end == b->end && a->prot == b->prot && a->shared == b->shared &&
	       a->offset == b->offset && is_same_object(a, b);
}

bool rt_regions_equal(const struct region_table *a, const struct region_table *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_mapping(&a->entries[i], &b->entries[i]))
			return false;
	return true;
}

/* Takes size and time of the mapped file; whether it still has this name. Neighbours share it. */
static bool read_file_status(const struct region_table *table, struct region *region, const char *name)
{
	struct stat status;
	const struct region *last = table->count > 0 ? &table->entries[table->count - 1] : NULL;
	if (last != NULL && last->inode == region->inode && last->file_status_known &&
	    strcmp(table->names + last->name, name) == 0) {
		region->file_device = last->file_device;
		region->file_size = last->file_size;
		region->file_mtime_ns = last->file_mtime_ns;
		return region->file_status_known = true;
	}
	region->file_status_known = rt_syscall(SYS_stat, name, &status) == 0 && status.st_ino == region->inode;
	if (!region->file_status_known)
		return false;
	region->file_device = status.st_dev;
	region->file_size = (uint64_t)status.st_size;
	region->file_mtime_ns = status.st_mtim.tv_sec * 1000000000L + status.st_mtim.tv_nsec;
	return true;
}

/* Of memory that is mapped several times, one mapping is captured. */
static bool is_alias(const struct region_table *table, const struct region *region)
{
	uint64_t end = region->offset + (region->end - region->start);
	uint32_t index = table->last_shared;
	for (int i = 0; i < LOOK_BACK && index != 0; i++) {
		const struct region *other = &table->entries[index - 1];
		if (other->tracked && is_same_object(other, region) && other->offset <= region->offset &&
		    end <= other->offset + (other->end - other->start))
			return true;
		index = other->last_shared;
	}
	return false;
}

static int append_region(struct region_table *table, struct region *region, const char *name)
{
	if (reserve_region(table) < 0 || put_name(table, region, name) < 0)
		return -ENOMEM;
	classify(region, name);
	if (rt_region_is_shared_memory(region)) {
		region->tracked = !is_alias(table, region);
		region->last_shared = table->last_shared;
		table->last_shared = (uint32_t)table->count + 1;
	}
	table->entries[table->count++] = *region;
	return 0;
}

static bool lies_in_memory(const struct region *region, const char *name)
{
	struct statfs status;
	return region->shared && region->file_status_known && rt_syscall(SYS_statfs, name, &status) == 0 &&
	       status.f_type == TMPFS;
}

/* ---- PROCMAP_QUERY ---- */

static void region_from_query(const struct procmap_query *query, struct region *region)
{
	memset(region, 0, sizeof(*region));
	region->start = query->vma_start;
	region->end = query->vma_end;
	region->offset = query->vma_offset;
	region->inode = query->inode;
	region->device_major = query->dev_major;
	region->device_minor = query->dev_minor;
	region->prot = (query->vma_flags & PROCMAP_QUERY_VMA_READABLE ? PROT_READ : 0) |
		       (query->vma_flags & PROCMAP_QUERY_VMA_WRITABLE ? PROT_WRITE : 0) |
		       (query->vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE ? PROT_EXEC : 0);
	region->shared = (query->vma_flags & PROCMAP_QUERY_VMA_SHARED) != 0;
	if (query->vma_page_size > RT_PAGE_SIZE)
		region->page_shift = (uint8_t)__builtin_ctzl(query->vma_page_size);
}

static int query_next(int maps_fd, uint64_t address, struct procmap_query *query)
{
	memset(query, 0, sizeof(*query));
	query->size = sizeof(*query);
	query->query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA;
	query->query_addr = address;
	return rt_sys_ioctl(maps_fd, PROCMAP_QUERY, query);
}

/* The same with the name and, of an ELF file, the build-id. The mapping may have changed meanwhile. */
static int query_named(int maps_fd, uint64_t address, char *name, struct region *region)
{
	uint8_t build_id[REGION_BUILD_ID_SIZE] = {0};
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
		.query_addr = address,
		.vma_name_addr = (uint64_t)name,
		.vma_name_size = NAME_SIZE,
		.build_id_addr = (uint64_t)build_id,
		.build_id_size = sizeof(build_id),
	};
	name[0] = '\0';
	int result = rt_sys_ioctl(maps_fd, PROCMAP_QUERY, &query);
	if (result < 0)
		return result;
	region_from_query(&query, region);
	if (query.build_id_size != 0)
		memcpy(region->build_id, build_id, sizeof(build_id));
	return 0;
}

/* The entry of `previous` for the same mapping; *cursor only moves forward. */
static const struct region *find_same(const struct region_table *previous, size_t *cursor, const struct region *region)
{
	while (*cursor < previous->count && previous->entries[*cursor].start < region->start)
		(*cursor)++;
	if (*cursor < previous->count && same_mapping(&previous->entries[*cursor], region))
		return &previous->entries[*cursor];
	return NULL;
}

static void note_kind_of_memory(const struct region_table *previous, struct region *region, const char *name)
{
	region->in_memory = lies_in_memory(region, name);
	/* A change of protection makes another mapping of it. */
	const struct region *before = rt_region_find(previous, region->start);
	region->written = (region->prot & PROT_WRITE) != 0 ||
			  (before != NULL && before->written && is_same_object(before, region));
}

/* Adds the mapping just found, with the name it had before or, if that is not its name any more, anew. */
static int take_region(int maps_fd, uint64_t address, const struct region_table *previous, const struct region *same,
		       struct region *region, struct region_table *table)
{
	char name[NAME_SIZE];
	const char *known = same ? rt_region_name(previous, same) : NULL;
	if (known != NULL && (region->inode == 0 || read_file_status(table, region, known))) {
		memcpy(region->build_id, same->build_id, sizeof(region->build_id));
		region->in_memory = same->in_memory;
		region->written = same->written;
		return append_region(table, region, known);
	}
	int result = query_named(maps_fd, address, name, region);
	if (result < 0)
		return result;
	if (region->inode != 0)
		read_file_status(table, region, name);
	note_kind_of_memory(previous, region, name);
	return append_region(table, region, name);
}

static int walk_by_query(int maps_fd, const struct region_table *previous, struct region_table *table)
{
	size_t cursor = 0;
	uint64_t address = 0;
	while (address < RT_USER_END) {
		struct procmap_query query;
		struct region region;
		int result = query_next(maps_fd, address, &query);
		if (result == -ENOENT || (result == 0 && query.vma_start >= RT_USER_END))
			return 0;
		if (result < 0)
			return result;
		if (RT_OUTSIDE_IMAGE(query.vma_start)) {
			address = RT_RESTORER_END;
			continue;
		}
		region_from_query(&query, &region);
		const struct region *same = find_same(previous, &cursor, &region);
		result = take_region(maps_fd, address, previous, same, &region, table);
		if (result < 0)
			return result == -ENOENT ? 0 : result;
		address = region.end;
	}
	return 0;
}

/* ---- /proc/self/maps ---- */

/* One line: "start-end rwxp offset major:minor inode   name". */
static void parse_line(const char *line, struct region *region, const char **name)
{
	memset(region, 0, sizeof(*region));
	region->start = rt_parse_hex(&line);
	line++;
	region->end = rt_parse_hex(&line);
	line++;
	region->prot =
		(line[0] == 'r' ? PROT_READ : 0) | (line[1] == 'w' ? PROT_WRITE : 0) | (line[2] == 'x' ? PROT_EXEC : 0);
	region->shared = line[3] == 's';
	line += 5;
	region->offset = rt_parse_hex(&line);
	line++;
	region->device_major = (uint32_t)rt_parse_hex(&line);
	line++;
	region->device_minor = (uint32_t)rt_parse_hex(&line);
	line++;
	region->inode = rt_parse_decimal(&line);
	while (*line == ' ')
		line++;
	*name = line;
}

/* As the kernel says it where it can be asked: of all mappings of an ELF file, but read in that of its beginning. */
static void find_build_id(const struct region_table *table, struct region *region, const char *name)
{
	const struct region *last = table->count > 0 ? &table->entries[table->count - 1] : NULL;
	if (last != NULL && is_same_object(last, region) && strcmp(table->names + last->name, name) == 0)
		memcpy(region->build_id, last->build_id, sizeof(region->build_id));
	else if (region->offset == 0 && region->file_status_known)
		rt_build_id_of_mapping(region->start, region->end, region->build_id);
}

/* What a line does not say: as it was in the last walk, or found out. */
static void complete_line(const struct region_table *previous, size_t *cursor, const struct region_table *table,
			  struct region *region, const char *name)
{
	const struct region *same = find_same(previous, cursor, region);
	if (same != NULL && strcmp(rt_region_name(previous, same), name) == 0) {
		memcpy(region->build_id, same->build_id, sizeof(region->build_id));
		region->in_memory = same->in_memory;
		region->written = same->written;
		return;
	}
	if (region->inode != 0)
		find_build_id(table, region, name);
	note_kind_of_memory(previous, region, name);
}

/* Takes the complete lines of `text`; returns how many bytes they were, or -errno. */
static ssize_t take_lines(const struct region_table *previous, size_t *cursor, struct region_table *table, char *text,
			  size_t length)
{
	size_t start = 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] != '\n')
			continue;
		struct region region;
		const char *name;
		text[i] = '\0';
		parse_line(text + start, &region, &name);
		start = i + 1;
		if (RT_OUTSIDE_IMAGE(region.start) || region.start >= RT_USER_END)
			continue;
		if (region.inode != 0)
			read_file_status(table, &region, name);
		complete_line(previous, cursor, table, &region, name);
		int result = append_region(table, &region, name);
		if (result < 0)
			return result;
	}
	return (ssize_t)start;
}

static int walk_by_text(int maps_fd, const struct region_table *previous, struct region_table *table)
{
	size_t cursor = 0;
	char text[2 * NAME_SIZE];
	size_t held = 0;
	if (rt_sys_lseek(maps_fd, 0, SEEK_SET) < 0)
		return -EIO;
	for (;;) {
		ssize_t got = rt_sys_read(maps_fd, text + held, sizeof(text) - held);
		if (got <= 0)
			return (int)got;
		held += (size_t)got;
		ssize_t taken = take_lines(previous, &cursor, table, text, held);
		if (taken < 0)
			return (int)taken;
		held -= (size_t)taken;
		memmove(text, text + taken, held);
	}
}

int rt_regions_walk(int maps_fd, const struct region_table *previous, struct region_table *table)
{
	table->count = 0;
	table->last_shared = 0;
	if (table->names_capacity == 0 && reserve_name(table, 1) < 0)
		return -ENOMEM;
	table->names[0] = '\0';
	table->names_length = 1;
	int result = walk_by_query(maps_fd, previous, table);
	if (result == -ENOTTY || result == -EINVAL)
		result = walk_by_text(maps_fd, previous, table);
	return result;
}

const struct region *rt_region_find_from(const struct region_table *table, uint64_t address)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (table->entries[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return &table->entries[low];
}

const struct region *rt_region_find(const struct region_table *table, uint64_t address)
{
	if (table->count == 0)
		return NULL;
	const struct region *region = rt_region_find_from(table, address);
	return region < table->entries + table->count && region->start <= address ? region : NULL;
}

uint64_t rt_region_device(const struct region *region)
{
	return makedev(region->device_major, region->device_minor);
}

bool rt_regions_cover(const struct region_table *table, uint64_t device, uint64_t inode, uint64_t offset,
		      uint64_t limit, uint64_t *end)
{
	*end = limit;
	for (uint32_t index = table->last_shared; index != 0;) {
		const struct region *region = &table->entries[index - 1];
		uint64_t region_end = region->offset + (region->end - region->start);
		index = region->last_shared;
		if (region->inode != inode || rt_region_device(region) != device || !region->tracked)
			continue;
		if (region->offset <= offset && offset < region_end) {
			*end = region_end < limit ? region_end : limit;
			return true;
		}
		if (region->offset > offset && region->offset < *end)
			*end = region->offset;
	}
	return false;
}

/* ---- manifest ---- */

static void write_region(const struct region_table *table, const struct region *region, struct manifest_writer *writer)
{
	const char *name = rt_region_name(table, region);
	struct manifest_region record = {
		.start = region->start,
		.end = region->end,
		.offset = region->offset,
		.device = region->inode ? rt_region_device(region) : 0,
		.inode = region->inode,
		.kind = region->kind,
		.prot = region->prot,
		.flags = region->flags,
		.page_shift = region->page_shift,
	};
	if (region->file_status_known) {
		record.device = region->file_device;
		record.size = region->file_size;
		record.mtime_ns = region->file_mtime_ns;
	}
	memcpy(record.build_id, region->build_id, sizeof(record.build_id));
	record.path_length = (uint32_t)strlen(name) + 1;
	rt_manifest_begin(writer, MANIFEST_REGION);
	rt_manifest_put(writer, &record, sizeof(record));
	rt_manifest_put(writer, name, record.path_length);
	rt_manifest_end(writer);
}

void rt_regions_write(const struct region_table *table, struct manifest_writer *writer)
{
	for (size_t i = 0; i < table->count; i++)
		write_region(table, &table->entries[i], writer);
}
