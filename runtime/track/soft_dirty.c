/*
 * Dirty tracking by the kernel's soft-dirty bits; see ../track.h.
 *
 * A write sets the bit of its page. Bits are cleared by a write to /proc/self/clear_refs, those of all pages of the
 * process at once, and what is cleared is not reported: a page written between a look at the bits and
 * their clearing would be missed. So they are cleared in the stop only, right after all that they show has been
 * captured. The pre-copy copies what is dirty so far and clears nothing; in the stop the same pages are dirty
 * still, and those that hold what was copied are told by comparing them.
 *
 * - A new mapping is dirty as a whole (the kernel marks the mapping, and pages written later have bits of
 *   their own, also when mappings are merged and the mark is lost).
 * - A fork keeps the parent's bits; the child has a copy of them, which a tracker on the child must not trust: until
 *   its first stop has ended everything counts as written.
 * - A huge page has one bit: all of it is reported, and compared.
 * - mremap() sets the bits of the pages it moves, but not where it moves a whole page table (2 MiB at once): such
 *   memory counts as written in the next stop, whatever its bits say.
 */
#include "backend.h"

#include <errno.h>

#include "base/sys.h"
#include "base/uapi.h"

static int open_clear_refs(void)
{
	return rt_sys_openat(AT_FDCWD, "/proc/self/clear_refs", O_WRONLY | O_CLOEXEC, 0);
}

static void register_moved(struct rt_tracker *tracker, uint64_t start, uint64_t end, bool moved)
{
	if (!moved)
		return;
	/* Stops wait for us, who have all signals blocked: nobody reads before this is written. */
	uint32_t i = __atomic_fetch_add(&tracker->moved_count, 1, __ATOMIC_ACQ_REL);
	if (i < MAX_MOVED)
		tracker->moved[i] = (struct rt_moved){start, end};
}

static bool was_moved(const struct rt_tracker *tracker, uint64_t page)
{
	uint32_t count = __atomic_load_n(&tracker->moved_count, __ATOMIC_ACQUIRE);
	if (count > MAX_MOVED)
		return true;
	for (uint32_t i = 0; i < count; i++)
		if (page >= tracker->moved[i].start && page < tracker->moved[i].end)
			return true;
	return false;
}

static bool is_written(const struct rt_tracker *tracker, uint64_t entry, uint64_t page)
{
	return rt_pagemap_is_soft_dirty(entry) || tracker->fresh || was_moved(tracker, page);
}

/* Of what a scan finds, the dirty pages with contents; as if the region were not known. */
struct dirty_only {
	rt_track_visit visit;
	void *context;
};

static int visit_dirty(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	const struct dirty_only *only = context;
	if (!(categories & PAGE_IS_WRITTEN) || !rt_track_has_contents(region, categories))
		return 0;
	return only->visit(only->context, NULL, start, end, categories);
}

static int scan_dirty(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		      rt_track_visit visit, void *context)
{
	struct dirty_only only = {visit, context};
	return rt_pagemap_scan(tracker, regions, from, to, is_written, false, visit_dirty, &only);
}

static int scan_all(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		    rt_track_visit visit, void *context)
{
	return rt_pagemap_scan(tracker, regions, from, to, is_written, true, visit, context);
}

static int clear_bits(struct rt_tracker *tracker)
{
	ssize_t written = rt_sys_write(tracker->files.control, "4", 1);
	if (written < 0)
		return (int)written;
	tracker->fresh = false;
	__atomic_store_n(&tracker->moved_count, 0, __ATOMIC_RELEASE);
	return 0;
}

static int forget_all(struct rt_tracker *tracker, const struct region_table *regions)
{
	(void)regions;
	return clear_bits(tracker);
}

const struct rt_track_backend rt_track_soft_dirty = {
	.name = "soft_dirty",
	.description = "soft-dirty bits (clear_refs + pagemap)",
	.open_control = open_clear_refs,
	.register_range = register_moved,
	.scan_dirty = scan_dirty,
	.scan_all = scan_all,
	.page = rt_pagemap_page,
	.captured = clear_bits,
	.forget_all = forget_all,
};
