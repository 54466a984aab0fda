/* Dirty tracking: what a scan reports, and what it does not; see track_model.h. */
#include "track_model.h"

TestSuite(track, .init = prepare, .fini = remove_files, .timeout = 300);

Test(track, self_test)
{
	const char *step = "";
	int result = rt_track_self_test(back_end, &step);
	cr_assert_eq(result, 0, "%s: %d", step, result);
	/* It leaves nothing behind. */
	int next = dup(0);
	rt_track_self_test(back_end, &step);
	int after = dup(0);
	cr_assert_eq(after, next + 1);
}

/* Comparing works everywhere, so there always is a choice. */
Test(track, choice)
{
	const char *step;
	enum rt_track_kind chosen;
	cr_assert_eq(rt_track_choose(RT_TRACK_ANY, &chosen, &step), 0);
	cr_assert_eq(rt_track_choose(RT_TRACK_COMPARE, &chosen, &step), 0);
	cr_assert_eq(chosen, RT_TRACK_COMPARE);
	cr_assert_lt(rt_track_choose(RT_TRACK_KINDS, &chosen, &step), 0);
	cr_assert_eq(chosen, RT_TRACK_ANY);
	for (enum rt_track_kind each = RT_TRACK_WP_ASYNC; each < RT_TRACK_KINDS; each++)
		cr_assert_eq(rt_track_named(rt_track_name(each)), each);
	cr_assert_eq(rt_track_named(NULL), RT_TRACK_ANY);
	cr_assert_eq(rt_track_named(""), RT_TRACK_ANY);
	cr_assert_eq(rt_track_named("wp"), RT_TRACK_KINDS);
}

/* Without changes of the mappings, what is reported is what was written. */
Test(track, no_extra_pages)
{
	require_tracking();
	seed_random(77);
	for (unsigned i = 0; i < ARENA_PAGES; i += 32)
		map(i, 32, 1 + i / 32 % (KINDS - 1), PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < ARENA_PAGES; i += 2)
		write_page(i);
	settle();
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = (unsigned)random_below(60); i > 0; i--)
			random_below(3) ? write_page((unsigned)random_below(ARENA_PAGES))
					: read_into_page((unsigned)random_below(ARENA_PAGES));
		for (unsigned i = 0; i < 20; i++)
			read_page((unsigned)random_below(ARENA_PAGES));
		if (round % 10 == 9)
			fork_a_child();
		expect_capture(true);
		if (random_below(2)) {
			precopy();
			expect_capture(true);
		}
	}
}

/* Holes have no contents, read or not; they cost nothing in the store. */
Test(track, holes)
{
	map(0, 100, PRIVATE, PROT_READ | PROT_WRITE);
	cr_assert_eq(pages_with_contents(), 0u);
	for (unsigned i = 0; i < 50; i++)
		read_page(i);
	cr_assert_eq(pages_with_contents(), 0u);
	write_page(3);
	write_page(70);
	cr_assert_eq(pages_with_contents(), 2u);
	cr_assert_eq(dirty_pages(), 2u);
	cr_assert_eq(dirty_pages(), 0u);
	cr_assert_eq(pages_with_contents(), 2u);
	discard(70, 1);
	cr_assert_eq(pages_with_contents(), 1u);
	cr_assert_eq(dirty_pages(), 0u);
}

/* Every other page of a large mapping: more ranges than one call of the kernel returns. */
#define MANY_PAGES 40000UL
#define MANY_BASE (ARENA + (1UL << 30))

static uint8_t visits[MANY_PAGES];

static int count_visits(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	(void)context, (void)region;
	for (; start < end && (categories & PAGE_IS_PRESENT); start += PAGE) {
		cr_assert(start >= MANY_BASE && start < MANY_BASE + MANY_PAGES * PAGE);
		visits[(start - MANY_BASE) / PAGE]++;
	}
	return 0;
}

/* The kernel goes back to the last 2 MiB border at the end: a page may be visited twice, unless it is
 * protected. */
static void expect_scan_of_many(int (*scan)(struct rt_tracker *, const struct region_table *, rt_track_visit, void *),
				uint8_t most)
{
	memset(visits, 0, sizeof(visits));
	cr_assert_eq(scan(tracker, &all_regions, count_visits, NULL), 0);
	for (uint64_t i = 0; i < MANY_PAGES; i++)
		cr_assert(i % 2 ? visits[i] == 0 : visits[i] >= 1 && visits[i] <= most, "page %lu: %d visits", i,
			  visits[i]);
}

Test(track, more_ranges_than_one_scan_returns)
{
	require_tracking();
	struct region region = {.start = MANY_BASE,
				.end = MANY_BASE + MANY_PAGES * PAGE,
				.prot = PROT_READ | PROT_WRITE,
				.kind = REGION_ANONYMOUS,
				.tracked = true};
	all_regions = (struct region_table){.entries = &region, .count = 1};
	cr_assert_eq(mmap((void *)MANY_BASE, MANY_PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
		     (void *)MANY_BASE);
	madvise((void *)MANY_BASE, MANY_PAGES * PAGE, MADV_NOHUGEPAGE);
	for (unsigned round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < MANY_PAGES; i += 2)
			*(volatile unsigned char *)(MANY_BASE + i * PAGE) = 1;
		expect_scan_of_many(rt_track_scan_all, 2);
		expect_scan_of_many(rt_track_scan_dirty, 1);
		expect_scan_of_many(rt_track_scan_all, 2);
		if (!rt_track_cleans(tracker))
			cr_assert_eq(rt_track_captured(tracker), 0);
		visited_pages = 0;
		cr_assert_eq(rt_track_scan_dirty(tracker, &all_regions, count_dirty, NULL), 0);
		cr_assert_eq(visited_pages, 0u);
	}
}

/* A huge reservation costs no page tables; with PAGEMAP_SCAN no time either. */
Test(track, sparse_reservation)
{
	const size_t length = 1UL << (back_end == RT_TRACK_WP_ASYNC ? 40 : 34);
	void *block = mmap((void *)(ARENA + (1UL << 30)), length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (block == MAP_FAILED)
		cr_skip_test("no terabyte of addresses");
	madvise(block, length, MADV_NOHUGEPAGE);
	*(volatile char *)block = 1;
	cr_assert_eq(rt_regions_walk(maps_fd, &no_previous, &all_regions), 0);
	const struct region *found = rt_region_find(&all_regions, (uint64_t)block);
	struct region_table one = {.entries = (struct region *)(uintptr_t)found, .count = 1};
	visited_pages = 0;
	cr_assert_eq(rt_track_scan_all(tracker, &one, count_contents, NULL), 0);
	cr_assert_eq(rt_track_scan_dirty(tracker, &one, count_dirty, NULL), 0);
	cr_assert_eq(rt_track_scan_all(tracker, &one, count_contents, NULL), 0);
	cr_assert_eq(visited_pages, 3u);
}

Test(track, file_pages_that_were_only_read)
{
	map(0, 100, FILE_PRIVATE, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < 100; i++)
		read_page(i);
	cr_assert_eq(pages_with_contents(), 0u);
	write_page(10);
	cr_assert_eq(pages_with_contents(), 1u);
	cr_assert_eq(dirty_pages(), 1u);
	cr_assert_eq(dirty_pages(), 0u);
}

/* A visit that fails ends the scan with its error, and nothing is lost: the caller captures anew. */
static int fail_visit(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	(void)context, (void)region, (void)start, (void)end, (void)categories;
	return -ENOSPC;
}

Test(track, error_of_a_visit)
{
	map(0, 10, PRIVATE, PROT_READ | PROT_WRITE);
	write_page(5);
	settle();
	write_page(5);
	walk();
	cr_assert_eq(rt_track_scan_all(tracker, &regions, fail_visit, NULL), -ENOSPC);
	if (back_end != RT_TRACK_COMPARE)
		cr_assert_eq(rt_track_scan_dirty(tracker, &regions, fail_visit, NULL), -ENOSPC);
}

Test(track, forget_all)
{
	require_tracking();
	map_some();
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		write_page(i);
	walk();
	cr_assert_eq(rt_track_forget_all(tracker, &regions), 0);
	cr_assert_eq(dirty_pages(), 0u);
	write_page(0);
	write_page(34);
	write_page(66); /* shared memory is compared in the stop, not scanned before it */
	cr_assert_eq(dirty_pages(), 2u);
}
