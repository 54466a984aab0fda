/*
 * Choosing the back end: each shows on some memory of its own that this kernel does what it relies on. Some kernels
 * lose dirty pages in corner cases, some lack an interface, some containers forbid one; see ../track.h.
 */
#include <errno.h>

#include "backend.h"
#include "base/memory.h"
#include "base/sys.h"
#include "base/uapi.h"

#define TEST_PAGES 8

struct self_test {
	uint64_t base;
	uint64_t written; /* bit per page, from the last scan */
};

static int note_written(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	struct self_test *test = context;
	if (!rt_track_has_contents(region, categories) || !(categories & PAGE_IS_WRITTEN))
		return 0;
	for (uint64_t page = start; page < end; page += RT_PAGE_SIZE)
		test->written |= 1UL << ((page - test->base) / RT_PAGE_SIZE);
	return 0;
}

static int visit_nothing(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	(void)context, (void)region, (void)start, (void)end, (void)categories;
	return 0;
}

static int expect_written(struct rt_tracker *tracker, const struct region_table *regions, struct self_test *test,
			  uint64_t expected)
{
	test->written = 0;
	int result = rt_track_scan_all(tracker, regions, note_written, test);
	if (result < 0)
		return result;
	return test->written == expected ? 0 : -EPROTO;
}

/* A checkpoint: pre-copy, stop, and what ends it. */
static int clean(struct rt_tracker *tracker, const struct region_table *regions)
{
	int result = rt_track_scan_dirty(tracker, regions, visit_nothing, NULL);
	return result < 0 ? result : rt_track_captured(tracker);
}

/* The shapes relied on. `every`: what is reported when nothing is tracked, so that no page is ever clean. */
static int run_steps(struct rt_tracker *tracker, volatile char *memory, uint64_t every, const char **step)
{
	struct region region = {
		.start = (uint64_t)memory,
		.end = (uint64_t)memory + TEST_PAGES * RT_PAGE_SIZE,
		.prot = PROT_READ | PROT_WRITE,
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
	if ((result = clean(tracker, &regions)) < 0 ||
	    (result = expect_written(tracker, &regions, &test, 7 & every)) < 0)
		return result;
	*step = "finding a page written after";
	memory[RT_PAGE_SIZE] = 2;
	memory[5 * RT_PAGE_SIZE] = 2;
	if ((result = expect_written(tracker, &regions, &test, 2 | 32 | (7 & every))) < 0)
		return result;
	*step = "seeing a discarded page as gone";
	rt_syscall(SYS_madvise, memory + 2 * RT_PAGE_SIZE, RT_PAGE_SIZE, MADV_DONTNEED);
	if ((result = clean(tracker, &regions)) < 0 ||
	    (result = expect_written(tracker, &regions, &test, (1 | 2 | 32) & every)) < 0)
		return result;
	*step = "finding a page written after it was discarded";
	memory[2 * RT_PAGE_SIZE] = 3;
	return expect_written(tracker, &regions, &test, 4 | ((1 | 2 | 32) & every));
}

static int test_with(const struct rt_track_files *files, enum rt_track_kind kind, const char **step)
{
	struct rt_tracker *tracker = NULL;
	int result = rt_track_open(kind, files, &tracker);
	if (result < 0)
		return result;
	void *memory = rt_memory_map(TEST_PAGES * RT_PAGE_SIZE);
	result = memory ? run_steps(tracker, memory, kind == RT_TRACK_COMPARE ? ~0UL : 0, step) : -ENOMEM;
	rt_memory_unmap(memory, TEST_PAGES * RT_PAGE_SIZE);
	rt_memory_unmap(tracker, sizeof(*tracker));
	return result;
}

int rt_track_self_test(enum rt_track_kind kind, const char **step)
{
	static const char *const openings[RT_TRACK_KINDS] = {
		[RT_TRACK_WP_ASYNC] = "userfaultfd with UFFD_FEATURE_WP_ASYNC (Linux 6.7 or later)",
		[RT_TRACK_SOFT_DIRTY] = "/proc/self/clear_refs",
		[RT_TRACK_COMPARE] = "nothing",
	};
	*step = "opening /proc/self/pagemap";
	struct rt_track_files files = {.control = -1, .memory = -1};
	files.pagemap = rt_sys_openat(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (files.pagemap < 0)
		return files.pagemap;
	*step = openings[kind];
	int result = rt_track_open_control(kind, &files.control);
	if (result == 0)
		result = test_with(&files, kind, step);
	if (files.control >= 0)
		rt_sys_close(files.control);
	rt_sys_close(files.pagemap);
	return result;
}

int rt_track_choose(enum rt_track_kind wanted, enum rt_track_kind *kind, const char **step)
{
	enum rt_track_kind last = wanted == RT_TRACK_ANY ? RT_TRACK_KINDS - 1 : wanted;
	int result = -EINVAL;
	*step = RT_TRACK_VARIABLE;
	for (*kind = wanted == RT_TRACK_ANY ? RT_TRACK_ANY + 1 : wanted; *kind <= last && *kind < RT_TRACK_KINDS;
	     (*kind)++)
		if ((result = rt_track_self_test(*kind, step)) == 0)
			return 0;
	*kind = RT_TRACK_ANY;
	return result;
}
