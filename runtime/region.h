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
	uint8_t kind;         /* enum region_kind */
	uint8_t flags;        /* enum region_flag */
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

/* The region that contains `address`, or NULL. */
const struct region *rt_region_find(const struct region_table *table, uint64_t address);

/* Whether both tables list the same mappings. */
bool rt_regions_equal(const struct region_table *a, const struct region_table *b);

/* Writes a MANIFEST_REGION record for each. */
void rt_regions_write(const struct region_table *table, struct manifest_writer *writer);

#endif
