/*
 * No tracking at all, for kernels that offer none: in each stop every present page is compared with the store; see
 * ../track.h. It works everywhere, and costs the time to read all memory, in the stop. There is no pre-copy
 * but for the first checkpoint, as finding out what to copy would cost as much again.
 */
#include "backend.h"

#include "base/uapi.h"

static bool is_written(const struct rt_tracker *tracker, uint64_t entry, uint64_t page)
{
	(void)tracker, (void)entry, (void)page;
	return true;
}

struct contents_only {
	rt_track_visit visit;
	void *context;
};

static int visit_contents(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	const struct contents_only *only = context;
	if (!rt_track_has_contents(region, categories))
		return 0;
	return only->visit(only->context, NULL, start, end, categories);
}

static int scan_dirty(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		      rt_track_visit visit, void *context)
{
	struct contents_only only = {visit, context};
	if (!tracker->fresh)
		return 0;
	return rt_pagemap_scan(tracker, regions, from, to, is_written, false, visit_contents, &only);
}

static int scan_all(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		    rt_track_visit visit, void *context)
{
	return rt_pagemap_scan(tracker, regions, from, to, is_written, true, visit, context);
}

static int captured(struct rt_tracker *tracker)
{
	tracker->fresh = false;
	return 0;
}

static int forget_all(struct rt_tracker *tracker, const struct region_table *regions)
{
	(void)regions;
	return captured(tracker);
}

const struct rt_track_backend rt_track_compare = {
	.name = "compare",
	.description = "none: every page is compared at each checkpoint",
	.scan_dirty = scan_dirty,
	.scan_all = scan_all,
	.page = rt_pagemap_page,
	.captured = captured,
	.forget_all = forget_all,
};
