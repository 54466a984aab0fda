/* Dirty tracking by asynchronous write-protection; see track.h. */
#include "track.h"

#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "memory.h"
#include "sys.h"
#include "uapi.h"

#define SCAN_VECTOR 4096 /* page_region entries returned per ioctl */

struct rt_tracker {
	int pagemap_fd, uffd;
	uint64_t guard; /* PAGE_IS_GUARD, 0: this kernel does not tell */
	struct page_region vector[SCAN_VECTOR];
};

int rt_track_open_uffd(void)
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
		.vec = (uint64_t)tracker->vector,
		.vec_len = 1,
		.return_mask = PAGE_IS_GUARD,
	};
	return rt_sys_ioctl(tracker->pagemap_fd, PAGEMAP_SCAN, &scan) >= 0;
}

int rt_track_open(int pagemap_fd, int uffd, struct rt_tracker **tracker)
{
	*tracker = rt_memory_map(sizeof(**tracker));
	if (*tracker == NULL)
		return -ENOMEM;
	(*tracker)->pagemap_fd = pagemap_fd;
	(*tracker)->uffd = uffd;
	(*tracker)->guard = knows_guards(*tracker) ? PAGE_IS_GUARD : 0;
	return 0;
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

/* Which pages of a region can differ from what restore would map there anyway. */
static bool interesting_file_pages(const struct region *region)
{
	return rt_region_is_shared_memory(region) || region->capture_all;
}

/* Protection is a matter of one mapping; shared memory may be written through others. */
static bool is_protectable(const struct region *region)
{
	return region->tracked && !rt_region_is_shared_memory(region);
}

bool rt_track_has_contents(const struct region *region, uint64_t categories)
{
	if ((categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)) == 0 ||
	    (categories & (PAGE_IS_PFNZERO | PAGE_IS_GUARD)) != 0)
		return false;
	return (categories & PAGE_IS_FILE) == 0 || interesting_file_pages(region);
}

/* The regions [from, result) are scanned with one ioctl: tracked, and of one category filter. */
static size_t end_of_run(const struct region_table *regions, size_t from)
{
	const struct region *first = &regions->entries[from];
	size_t to = from + 1;
	while (to < regions->count && regions->entries[to].tracked &&
	       regions->entries[to].kind == first->kind &&
	       interesting_file_pages(&regions->entries[to]) == interesting_file_pages(first))
		to++;
	return to;
}

/* Hands the ranges found to `visit`, cut at the borders of regions. */
static int deliver(const struct region_table *regions, size_t *cursor, const struct page_region *ranges,
		   size_t count, rt_track_visit visit, void *context)
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
			int result = region->tracked
					     ? visit(context, region, start, end, ranges[i].categories)
					     : 0;
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
		scan.vec = (uint64_t)tracker->vector;
		scan.vec_len = SCAN_VECTOR;
		long found = rt_sys_ioctl(tracker->pagemap_fd, PAGEMAP_SCAN, &scan);
		if (found < 0)
			return (int)found;
		int result = filter->flags & PM_SCAN_WP_MATCHING
				     ? deliver_all(tracker->vector, (size_t)found, visit, context)
				     : deliver(regions, &cursor, tracker->vector, (size_t)found, visit, context);
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
static int scan_and_register(struct rt_tracker *tracker, const struct region_table *regions, size_t from,
			     size_t to, const struct pm_scan_arg *filter, rt_track_visit visit, void *context)
{
	int result = 0;
	for (size_t i = from; i < to && result == 0; i++) {
		result = scan_run(tracker, regions, i, i + 1, filter, visit, context);
		if (result != -EPERM)
			continue;
		result = register_anew(tracker->uffd, regions->entries[i].start, regions->entries[i].end);
		if (result == 0)
			result = scan_run(tracker, regions, i, i + 1, filter, visit, context);
	}
	return result;
}

void rt_track_register(int uffd, const void *start, size_t length)
{
	register_anew(uffd, (uint64_t)start, (uint64_t)start + RT_PAGE_ALIGN_UP(length));
}

#define RESIDENCY_PAGES 4096 /* pages asked for per mincore() */

/*
 * Shared memory: other mappings and other processes write to it without a trace in ours. Every page
 * that exists counts as written. Where there is swap, one that is not resident may exist, too.
 */
static int scan_shared(const struct region *region, rt_track_visit visit, void *context)
{
	unsigned char resident[RESIDENCY_PAGES];
	struct sysinfo system = {0};
	rt_syscall(SYS_sysinfo, &system);
	uint64_t absent = system.totalswap > 0 ? PAGE_IS_SWAPPED | PAGE_IS_FILE : 0;
	for (uint64_t at = region->start; at < region->end;) {
		uint64_t pages = (region->end - at) / RT_PAGE_SIZE;
		pages = pages < RESIDENCY_PAGES ? pages : RESIDENCY_PAGES;
		int result = (int)rt_syscall(SYS_mincore, at, pages * RT_PAGE_SIZE, resident);
		for (uint64_t i = 0, run; i < pages && result == 0; i += run) {
			for (run = 1; i + run < pages && !(resident[i + run] & 1) == !(resident[i] & 1);)
				run++;
			uint64_t categories = resident[i] & 1 ? PAGE_IS_PRESENT | PAGE_IS_FILE | PAGE_IS_WRITTEN : absent;
			result = visit(context, region, at + i * RT_PAGE_SIZE, at + (i + run) * RT_PAGE_SIZE, categories);
		}
		if (result < 0)
			return result;
		at += pages * RT_PAGE_SIZE;
	}
	return 0;
}

int rt_track_scan_dirty(struct rt_tracker *tracker, const struct region_table *regions,
			rt_track_visit visit, void *context)
{
	for (size_t from = 0, to; from < regions->count; from = to) {
		to = from + 1;
		if (!is_protectable(&regions->entries[from]))
			continue;
		to = end_of_run(regions, from);
		/*
		 * Mappings that are not registered are passed over (PAGE_IS_WPALLOWED). PM_SCAN_CHECK_WPASYNC
		 * must not be used here: it fails in the middle, with pages protected and not reported.
		 */
		uint64_t inverted = PAGE_IS_PFNZERO | tracker->guard;
		if (!interesting_file_pages(&regions->entries[from]) &&
		    regions->entries[from].kind != REGION_ANONYMOUS)
			inverted |= PAGE_IS_FILE;
		struct pm_scan_arg filter = {
			.flags = PM_SCAN_WP_MATCHING,
			.category_inverted = inverted,
			.category_mask = PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | inverted,
			.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
			.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
		};
		int result = scan_run(tracker, regions, from, to, &filter, visit, context);
		if (result < 0)
			return result;
	}
	return 0;
}

int rt_track_scan_all(struct rt_tracker *tracker, const struct region_table *regions,
		      rt_track_visit visit, void *context)
{
	for (size_t from = 0, to; from < regions->count; from = to) {
		to = from + 1;
		int result;
		if (!regions->entries[from].tracked)
			continue;
		if (!is_protectable(&regions->entries[from])) {
			if ((result = scan_shared(&regions->entries[from], visit, context)) < 0)
				return result;
			continue;
		}
		to = end_of_run(regions, from);
		/* Fails at a mapping that is not registered, which nothing else would tell from a clean one. */
		struct pm_scan_arg filter = {
			.flags = PM_SCAN_CHECK_WPASYNC,
			.return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_PFNZERO |
				       tracker->guard,
		};
		/* In private anonymous memory no page belongs to a file; not asking saves a look-up a page. */
		if (regions->entries[from].kind != REGION_ANONYMOUS || regions->entries[from].capture_all)
			filter.return_mask |= PAGE_IS_FILE;
		result = scan_run(tracker, regions, from, to, &filter, visit, context);
		if (result == -EPERM)
			result = scan_and_register(tracker, regions, from, to, &filter, visit, context);
		if (result < 0)
			return result;
	}
	return 0;
}

int rt_track_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories)
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
	int result = rt_sys_ioctl(tracker->pagemap_fd, PAGEMAP_SCAN, &scan);
	*categories = result > 0 ? found.categories : 0;
	return result < 0 ? result : 0;
}

static int visit_nothing(void *context, const struct region *region, uint64_t start, uint64_t end,
			 uint64_t categories)
{
	(void)context, (void)region, (void)start, (void)end, (void)categories;
	return 0;
}

int rt_track_forget_all(struct rt_tracker *tracker, const struct region_table *regions)
{
	for (size_t i = 0; i < regions->count; i++)
		if (is_protectable(&regions->entries[i]))
			register_range(tracker->uffd, regions->entries[i].start, regions->entries[i].end);
	return rt_track_scan_dirty(tracker, regions, visit_nothing, NULL);
}

/* ---- self-test ---- */

struct self_test {
	uint64_t base;
	uint64_t written; /* bit per page, from the last scan */
};

static int note_written(void *context, const struct region *region, uint64_t start, uint64_t end,
			uint64_t categories)
{
	struct self_test *test = context;
	if (!rt_track_has_contents(region, categories) || !(categories & PAGE_IS_WRITTEN))
		return 0;
	for (uint64_t page = start; page < end; page += RT_PAGE_SIZE)
		test->written |= 1UL << ((page - test->base) / RT_PAGE_SIZE);
	return 0;
}

static int expect_written(struct rt_tracker *tracker, const struct region_table *regions,
			  struct self_test *test, uint64_t expected)
{
	test->written = 0;
	int result = rt_track_scan_all(tracker, regions, note_written, test);
	if (result < 0)
		return result;
	return test->written == expected ? 0 : -EPROTO;
}

/* The shapes relied on, on eight pages of anonymous memory. */
static int run_self_test(struct rt_tracker *tracker, volatile char *memory, const char **step)
{
	struct region region = {
		.start = (uint64_t)memory,
		.end = (uint64_t)memory + 8 * RT_PAGE_SIZE,
		.kind = REGION_ANONYMOUS,
		.tracked = true,
	};
	struct region_table regions = {.entries = &region, .count = 1};
	struct self_test test = {.base = (uint64_t)memory};
	int result;

	memory[0] = memory[RT_PAGE_SIZE] = memory[2 * RT_PAGE_SIZE] = 1;
	*step = "finding the pages written before tracking began";
	if ((result = expect_written(tracker, &regions, &test, 7)) < 0)
		return result;
	*step = "protecting pages again";
	if ((result = rt_track_scan_dirty(tracker, &regions, visit_nothing, NULL)) < 0 ||
	    (result = expect_written(tracker, &regions, &test, 0)) < 0)
		return result;
	*step = "finding a page written after";
	memory[RT_PAGE_SIZE] = 2;
	memory[5 * RT_PAGE_SIZE] = 2;
	if ((result = expect_written(tracker, &regions, &test, 2 | 32)) < 0)
		return result;
	*step = "seeing a discarded page as gone";
	rt_syscall(SYS_madvise, memory + 2 * RT_PAGE_SIZE, RT_PAGE_SIZE, MADV_DONTNEED);
	rt_track_scan_dirty(tracker, &regions, visit_nothing, NULL);
	if ((result = expect_written(tracker, &regions, &test, 0)) < 0)
		return result;
	*step = "finding a page written after it was discarded";
	memory[2 * RT_PAGE_SIZE] = 3;
	return expect_written(tracker, &regions, &test, 4);
}

int rt_track_self_test(const char **step)
{
	struct rt_tracker *tracker = NULL;
	*step = "opening /proc/self/pagemap";
	int pagemap = rt_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (pagemap < 0)
		return pagemap;
	*step = "userfaultfd with UFFD_FEATURE_WP_ASYNC (Linux 6.7 or later)";
	int uffd = rt_track_open_uffd();
	int result = uffd < 0 ? uffd : rt_track_open(pagemap, uffd, &tracker);
	if (result == 0) {
		void *memory = rt_memory_map(8 * RT_PAGE_SIZE);
		result = memory ? run_self_test(tracker, memory, step) : -ENOMEM;
		rt_memory_unmap(memory, 8 * RT_PAGE_SIZE);
		rt_memory_unmap(tracker, sizeof(*tracker));
	}
	if (uffd >= 0)
		rt_sys_close(uffd);
	rt_sys_close(pagemap);
	return result;
}
