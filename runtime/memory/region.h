/*
 * The walk over the process's mappings.
 *
 * Mappings are read from the kernel (PROCMAP_QUERY, or /proc/self/maps on older kernels), not
 * kept from calls: libc and the loader map memory without anybody noticing.
 */
#ifndef RT_REGION_H
#define RT_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest.h"

struct region {
	uint64_t start, end;
	uint64_t offset, inode;
	uint32_t device_major, device_minor;
	uint32_t prot;        /* PROT_* */
	bool shared;          /* MAP_SHARED */
	bool tracked;         /* its pages are captured: private, or shared anonymous */
	bool capture_all;     /* backed by a file that is gone: every page is captured */
	bool in_memory;       /* shared, and the file under that name lies in memory (tmpfs) */
	bool written;         /* has been seen writable */
	uint32_t last_shared; /* index of the shared memory before this one in the table, plus 1; 0: none */
	uint8_t kind;         /* enum region_kind */
	uint8_t flags;        /* enum region_flag */
	uint8_t page_shift;   /* of huge pages; 0: ordinary ones, or not known */
	uint32_t name;        /* offset in region_table.names; 0: none */
	/* The file under that name, when it is the mapped one; st_dev, bytes, ns. */
	bool file_status_known;
	uint64_t file_device, file_size;
	int64_t file_mtime_ns;
	uint8_t build_id[REGION_BUILD_ID_SIZE]; /* zeros: none, or not known */
};

struct region_table {
	struct region *entries;
	size_t count, capacity;
	char *names; /* all names, each terminated; offset 0 is the empty string */
	size_t names_length, names_capacity;
	uint32_t last_shared; /* index of the last region that is shared memory, plus 1; 0: none */
};

/*
 * Reads all mappings outside the runtime area into `table`. `previous` (may be empty) saves
 * asking for names again. Checkpoint thread; runtime memory. 0 or -errno.
 */
int rt_regions_walk(int maps_fd, const struct region_table *previous, struct region_table *table);

static inline const char *rt_region_name(const struct region_table *table, const struct region *region)
{
	return table->names + region->name;
}

/* Whether a region of kind REGION_FILE_SHARED is of a file that can be opened by its name, and not memory of a device or
 * of the kernel (the rings of io_uring and io_setup()). */
bool rt_region_has_file(const struct region_table *table, const struct region *region);

/* Whether its pages belong to an object that others may map and write, too. */
static inline bool rt_region_is_shared_memory(const struct region *region)
{
	return region->kind == REGION_ANONYMOUS_SHARED || region->kind == REGION_FILE_MEMORY;
}

/* Whether it may reach behind the end of a file, which somebody may just have cut: there is nothing to read. */
static inline bool rt_region_may_be_cut(const struct region *region)
{
	return region->kind != REGION_ANONYMOUS || region->capture_all;
}

/* st_dev of what is mapped. */
uint64_t rt_region_device(const struct region *region);

/*
 * Whether the byte at `offset` of an object is captured through a shared mapping of it. *end is set
 * to where that may change: the same holds up to there (at most `limit`).
 */
bool rt_regions_cover(const struct region_table *table, uint64_t device, uint64_t inode, uint64_t offset,
		      uint64_t limit, uint64_t *end);

/* The region that contains `address`, or NULL. */
const struct region *rt_region_find(const struct region_table *table, uint64_t address);

/* The first that ends above `address`; the end of the table when there is none. */
const struct region *rt_region_find_from(const struct region_table *table, uint64_t address);

/* Whether both tables list the same mappings. */
bool rt_regions_equal(const struct region_table *a, const struct region_table *b);

/* Writes a MANIFEST_REGION record for each. */
void rt_regions_write(const struct region_table *table, struct manifest_writer *writer);

#endif
