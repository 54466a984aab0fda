/*
 * What /proc/self/pagemap says, for kernels without PAGEMAP_SCAN: 64 bits for each page, present or not, in
 * the order of the addresses. A hole of a gigabyte costs 2 MiB of them, and about a millisecond. See backend.h.
 */
#include "backend.h"

#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "base/uapi.h"

/* The kernel's ABI: Documentation/admin-guide/mm/pagemap.rst. */
#define ENTRY_SOFT_DIRTY (1UL << 55)
#define ENTRY_EXCLUSIVE (1UL << 56) /* mapped once, here; never set for the page of zeros */
#define ENTRY_GUARD (1UL << 58)     /* Linux 6.15 */
#define ENTRY_FILE (1UL << 61)
#define ENTRY_SWAPPED (1UL << 62)
#define ENTRY_PRESENT (1UL << 63)

bool rt_pagemap_is_soft_dirty(uint64_t entry)
{
	return (entry & ENTRY_SOFT_DIRTY) != 0;
}

static uint64_t categories_of(uint64_t entry)
{
	return (entry & ENTRY_PRESENT ? PAGE_IS_PRESENT : 0) | (entry & ENTRY_SWAPPED ? PAGE_IS_SWAPPED : 0) |
	       (entry & ENTRY_FILE ? PAGE_IS_FILE : 0) | (entry & ENTRY_GUARD ? PAGE_IS_GUARD : 0);
}

static bool is_zero(const void *contents)
{
	const uint64_t *words = contents;
	uint64_t any = 0;
	for (size_t i = 0; i < RT_PAGE_SIZE / sizeof(uint64_t) && any == 0; i += 8)
		any = words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] |
		      words[i + 6] | words[i + 7];
	return any == 0;
}

/*
 * Whether this is a hole that was read. An ordinary user is not told page numbers, so the page of zeros is known
 * by not being exclusively ours, and by its contents; a page that is shared with a child and is all zeros may
 * pass for it, since zeros are what a restore puts where nothing is stored. Before the stop, when there is no use
 * in looking, all that could be a hole passes for one.
 */
static bool shows_a_hole(const struct rt_tracker *tracker, const struct region *region, uint64_t entry, uint64_t page,
			 bool look)
{
	uint64_t contents[RT_PAGE_SIZE / sizeof(uint64_t)];
	if (region->kind != REGION_ANONYMOUS || region->capture_all || !(entry & ENTRY_PRESENT) ||
	    (entry & (ENTRY_EXCLUSIVE | ENTRY_FILE)) != 0)
		return false;
	if (!look)
		return true;
	if (region->prot & PROT_READ)
		return is_zero((const void *)page);
	return rt_sys_pread(tracker->files.memory, contents, RT_PAGE_SIZE, (off_t)page) == (ssize_t)RT_PAGE_SIZE &&
	       is_zero(contents);
}

static uint64_t judge(const struct rt_tracker *tracker, const struct region *region, uint64_t entry, uint64_t page,
		      rt_pagemap_written written, bool look)
{
	uint64_t categories = categories_of(entry);
	if (shows_a_hole(tracker, region, entry, page, look))
		categories |= PAGE_IS_PFNZERO;
	/* The file of a mapping of which everything is captured may change without a trace here. */
	if (written(tracker, entry, page) || (region->capture_all && entry & ENTRY_FILE))
		categories |= PAGE_IS_WRITTEN;
	return categories;
}

static int scan_region(struct rt_tracker *tracker, const struct region *region, rt_pagemap_written written, bool look,
		       rt_track_visit visit, void *context)
{
	uint64_t *entries = tracker->vector.entries, run_start = region->start, run_categories = 0;
	for (uint64_t at = region->start; at < region->end;) {
		uint64_t pages = (region->end - at) / RT_PAGE_SIZE;
		pages = pages < SCAN_VECTOR ? pages : SCAN_VECTOR;
		ssize_t got = rt_sys_pread(tracker->files.pagemap, entries, pages * sizeof(uint64_t),
					   (off_t)(at / RT_PAGE_SIZE * sizeof(uint64_t)));
		if (got <= 0)
			return got < 0 ? (int)got : -EIO;
		pages = (uint64_t)got / sizeof(uint64_t);
		for (uint64_t i = 0; i < pages; i++, at += RT_PAGE_SIZE) {
			uint64_t categories = judge(tracker, region, entries[i], at, written, look);
			if (categories == run_categories)
				continue;
			int result = at > run_start ? visit(context, region, run_start, at, run_categories) : 0;
			if (result < 0)
				return result;
			run_start = at;
			run_categories = categories;
		}
	}
	return visit(context, region, run_start, region->end, run_categories);
}

int rt_pagemap_scan(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		    rt_pagemap_written written, bool look, rt_track_visit visit, void *context)
{
	int result = 0;
	for (size_t i = from; i < to && result == 0; i++)
		result = scan_region(tracker, &regions->entries[i], written, look, visit, context);
	return result;
}

int rt_pagemap_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories)
{
	uint64_t entry;
	ssize_t got = rt_sys_pread(tracker->files.pagemap, &entry, sizeof(entry),
				   (off_t)(page / RT_PAGE_SIZE * sizeof(uint64_t)));
	*categories = got == (ssize_t)sizeof(entry) ? categories_of(entry) : 0;
	return got < 0 ? (int)got : 0;
}
