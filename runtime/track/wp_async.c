/*
 * Dirty tracking by asynchronous write-protection: userfaultfd and PAGEMAP_SCAN; see ../track.h.
 */
#include "backend.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/sys.h"
#include "base/uapi.h"

static struct page_region *ranges_of(struct rt_tracker *tracker)
{
	return (struct page_region *)(void *)tracker->vector.bytes;
}

static int open_userfaultfd(void)
{
	int fd = (int)rt_syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		return fd;
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
	};
	int result = rt_sys_ioctl(fd, UFFDIO_API, &api);
	if (result < 0) {
		rt_sys_close(fd);
		return result;
	}
	return fd;
}

/* Guard regions (MADV_GUARD_INSTALL) look like pages that are swapped out, and cannot be read. */
static bool knows_guards(struct rt_tracker *tracker)
{
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = (uint64_t)tracker,
		.end = (uint64_t)tracker + RT_PAGE_SIZE,
		.vec = (uint64_t)ranges_of(tracker),
		.vec_len = 1,
		.return_mask = PAGE_IS_GUARD,
	};
	return rt_sys_ioctl(tracker->files.pagemap, PAGEMAP_SCAN, &scan) >= 0;
}

static void open_tracker(struct rt_tracker *tracker)
{
	_Static_assert(sizeof(tracker->vector) >= SCAN_VECTOR * sizeof(struct page_region),
		       "room for what a scan returns");
	tracker->guard = knows_guards(tracker) ? PAGE_IS_GUARD : 0;
}

static int register_range(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_register request = {
		.range = {.start = start, .len = end - start},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	return rt_sys_ioctl(uffd, UFFDIO_REGISTER, &request);
}

/*
 * Registers a mapping whose pages may carry protection from an earlier registration that the
 * kernel dropped. (mremap() may merge what it moves with a registered neighbour and take the
 * registration from both: their pages still look protected, but writing to them leaves no trace.)
 * So all of it is made unprotected: written.
 */
static int register_anew(int uffd, uint64_t start, uint64_t end)
{
	struct uffdio_writeprotect unprotect = {.range = {.start = start, .len = end - start}, .mode = 0};
	int result = register_range(uffd, start, end);
	return result < 0 ? result : rt_sys_ioctl(uffd, UFFDIO_WRITEPROTECT, &unprotect);
}

/* Hands the ranges found to `visit`, cut at the borders of regions. */
static int deliver(const struct region_table *regions, size_t *cursor, const struct page_region *ranges, size_t count,
		   rt_track_visit visit, void *context)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t start = ranges[i].start;
		while (start < ranges[i].end) {
			while (*cursor < regions->count && regions->entries[*cursor].end <= start)
				(*cursor)++;
			if (*cursor == regions->count)
				return 0;
			const struct region *region = &regions->entries[*cursor];
			if (start < region->start)
				start = region->start;
			uint64_t end = ranges[i].end < region->end ? ranges[i].end : region->end;
			if (start >= end)
				break;
			int result = region->tracked ? visit(context, region, start, end, ranges[i].categories) : 0;
			if (result < 0)
				return result;
			start = end;
		}
	}
	return 0;
}

/*
 * Hands over everything found. What a scan has protected must be copied, also where the running
 * program has mapped (and the shim registered) memory since the regions were read.
 */
static int deliver_all(const struct page_region *ranges, size_t count, rt_track_visit visit, void *context)
{
	int result = 0;
	for (size_t i = 0; i < count && result == 0; i++)
		result = visit(context, NULL, ranges[i].start, ranges[i].end, ranges[i].categories);
	return result;
}

/* Scans the regions [from, to) and what lies between them. */
static int scan_run(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		    const struct pm_scan_arg *filter, rt_track_visit visit, void *context)
{
	size_t cursor = from;
	uint64_t end = regions->entries[to - 1].end;
	uint64_t position = regions->entries[from].start;
	while (position < end) {
		struct pm_scan_arg scan = *filter;
		scan.size = sizeof(scan);
		scan.start = position;
		scan.end = end;
		scan.vec = (uint64_t)ranges_of(tracker);
		scan.vec_len = SCAN_VECTOR;
		long found = rt_sys_ioctl(tracker->files.pagemap, PAGEMAP_SCAN, &scan);
		if (found < 0)
			return (int)found;
		int result = filter->flags & PM_SCAN_WP_MATCHING
				     ? deliver_all(ranges_of(tracker), (size_t)found, visit, context)
				     : deliver(regions, &cursor, ranges_of(tracker), (size_t)found, visit, context);
		if (result < 0)
			return result;
		/* With room left in the vector all was walked, although walk_end may say less. */
		if (found < SCAN_VECTOR)
			break;
		position = scan.walk_end;
	}
	return 0;
}

/* A run with mappings that are not registered: those are registered now, all of their pages written. */
static int scan_and_register(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
			     const struct pm_scan_arg *filter, rt_track_visit visit, void *context)
{
	int result = 0;
	for (size_t i = from; i < to && result == 0; i++) {
		result = scan_run(tracker, regions, i, i + 1, filter, visit, context);
		if (result != -EPERM)
			continue;
		result = register_anew(tracker->files.control, regions->entries[i].start, regions->entries[i].end);
		if (result == 0)
			result = scan_run(tracker, regions, i, i + 1, filter, visit, context);
	}
	return result;
}

static void register_new(struct rt_tracker *tracker, uint64_t start, uint64_t end, bool moved)
{
	(void)moved;
	register_anew(tracker->files.control, start, end);
}

static int scan_dirty(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		      rt_track_visit visit, void *context)
{
	/*
	 * Mappings that are not registered are passed over (PAGE_IS_WPALLOWED). PM_SCAN_CHECK_WPASYNC
	 * must not be used here: it fails in the middle, with pages protected and not reported.
	 */
	uint64_t inverted = PAGE_IS_PFNZERO | tracker->guard;
	if (!rt_track_wants_file_pages(&regions->entries[from]) && regions->entries[from].kind != REGION_ANONYMOUS)
		inverted |= PAGE_IS_FILE;
	struct pm_scan_arg filter = {
		.flags = PM_SCAN_WP_MATCHING,
		.category_inverted = inverted,
		.category_mask = PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | inverted,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
	};
	return scan_run(tracker, regions, from, to, &filter, visit, context);
}

static int scan_all(struct rt_tracker *tracker, const struct region_table *regions, size_t from, size_t to,
		    rt_track_visit visit, void *context)
{
	/* Fails at a mapping that is not registered, which nothing else would tell from a clean one. */
	struct pm_scan_arg filter = {
		.flags = PM_SCAN_CHECK_WPASYNC,
		.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | tracker->guard,
	};
	/* In private anonymous memory no page belongs to a file; not asking saves a look-up a page. */
	if (regions->entries[from].kind != REGION_ANONYMOUS || regions->entries[from].capture_all)
		filter.return_mask |= PAGE_IS_FILE;
	int result = scan_run(tracker, regions, from, to, &filter, visit, context);
	return result == -EPERM ? scan_and_register(tracker, regions, from, to, &filter, visit, context) : result;
}

static int look_at_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories)
{
	struct page_region found = {0};
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = page,
		.end = page + RT_PAGE_SIZE,
		.vec = (uint64_t)&found,
		.vec_len = 1,
		.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_FILE |
			       tracker->guard,
	};
	int result = rt_sys_ioctl(tracker->files.pagemap, PAGEMAP_SCAN, &scan);
	*categories = result > 0 ? found.categories : 0;
	return result < 0 ? result : 0;
}

static int visit_nothing(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	(void)context, (void)region, (void)start, (void)end, (void)categories;
	return 0;
}

static int forget_all(struct rt_tracker *tracker, const struct region_table *regions)
{
	for (size_t i = 0; i < regions->count; i++)
		if (rt_track_is_private(&regions->entries[i]))
			register_range(tracker->files.control, regions->entries[i].start, regions->entries[i].end);
	return rt_track_scan_dirty(tracker, regions, visit_nothing, NULL);
}

const struct rt_track_backend rt_track_wp_async = {
	.name = "wp_async",
	.description = "userfaultfd WP_ASYNC + PAGEMAP_SCAN",
	.exact = true,
	.cleans = true,
	.open_control = open_userfaultfd,
	.open = open_tracker,
	.register_range = register_new,
	.scan_dirty = scan_dirty,
	.scan_all = scan_all,
	.page = look_at_page,
	.forget_all = forget_all,
};
