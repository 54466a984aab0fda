/* What the files of this folder share: the back ends, and the tracker they work on. See ../track.h. */
#ifndef RT_TRACK_BACKEND_H
#define RT_TRACK_BACKEND_H

#include "track/track.h"

#define SCAN_VECTOR 4096 /* page_region or pagemap entries read at once */
#define MAX_MOVED 256    /* ranges moved between two stops that are remembered one by one */

struct page_region;

struct rt_moved {
	uint64_t start, end;
};

struct rt_tracker {
	const struct rt_track_backend *backend;
	struct rt_track_files files;
	/* The kind of the memory below is the back end's. */
	union {
		char bytes[SCAN_VECTOR * 24];
		uint64_t entries[SCAN_VECTOR];
	} vector;
	uint64_t guard; /* wp_async: PAGE_IS_GUARD, 0: this kernel does not tell */
	/* soft_dirty, compare: nothing has been captured yet, or all must be looked at again. */
	bool fresh;
	/* soft_dirty: where the bits do not tell, since the last stop. Written by any thread. */
	uint32_t moved_count; /* may exceed MAX_MOVED: then they count as everywhere */
	struct rt_moved moved[MAX_MOVED];
};

struct rt_track_backend {
	const char *name, *description;
	bool exact, cleans;
	int (*open_control)(void); /* NULL: none is needed */
	void (*open)(struct rt_tracker *tracker);
	void (*register_range)(struct rt_tracker *tracker, uint64_t start, uint64_t end, bool moved);
	/* The dirty pages of the regions [from, to): private, tracked, with or without pages of files that
	 * matter (rt_track_end_of_run()). */
	int (*scan_dirty)(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
			  rt_track_visit visit, void *context);
	/* All that is there, in the same regions. */
	int (*scan_all)(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
			rt_track_visit visit, void *context);
	int (*page)(struct rt_tracker *tracker, uint64_t page, uint64_t *categories);
	int (*captured)(struct rt_tracker *tracker);
	int (*forget_all)(struct rt_tracker *tracker, const struct region_table *regions);
};

extern const struct rt_track_backend rt_track_wp_async, rt_track_soft_dirty, rt_track_compare;

/* Whether pages that belong to a file can differ from what restore would map there anyway. */
bool rt_track_wants_file_pages(const struct region *region);

/* Whether tracking works on it: it is captured, and the process's own. Shared memory may be written through
 * other mappings. */
bool rt_track_is_private(const struct region *region);

/* ---- pagemap.c: what /proc/self/pagemap says, as PAGE_IS_* categories ---- */

/* Which of the pages there count as written. */
typedef bool (*rt_pagemap_written)(const struct rt_tracker *tracker, uint64_t entry, uint64_t page);

/* Visits all of the regions [from, to), in ranges of pages alike. Reads what may be a hole only with `look`, while
 * threads are parked; else takes for one what is not the process's alone. */
int rt_pagemap_scan(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		    rt_pagemap_written written, bool look, rt_track_visit visit, void *context);

int rt_pagemap_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories);

bool rt_pagemap_is_soft_dirty(uint64_t entry);

#endif
