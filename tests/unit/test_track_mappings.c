/* Dirty tracking: mappings that come, move and are joined; see track_model.h. */
#include "track_model.h"

TestSuite(track_mappings, .init = prepare, .fini = remove_files, .timeout = 300);

/* One mapping is captured when it was never registered by anybody else. */
Test(track_mappings, mapping_that_nobody_registered)
{
	for (unsigned i = 0; i < 4; i++) {
		mmap(address_of(8 * i), 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		     0);
		for (unsigned j = 8 * i; j < 8 * i + 4; j++)
			pages[j] = (struct page){PRIVATE, PROT_READ | PROT_WRITE, 1, 0, true, true};
		write_page(8 * i + 1);
		walk();
		precopy(); /* passes over it */
		expect_capture(false);
		write_page(8 * i + 2);
		expect_capture(false);
	}
}

/* The pages of a moved mapping still carry protection; what is written there must be found. */
Test(track_mappings, registration_lost_by_mremap)
{
	map(0, 20, PRIVATE, PROT_READ | PROT_WRITE);
	map(100, 20, PRIVATE, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < 20; i++) {
		write_page(i);
		write_page(100 + i);
	}
	settle();
	move(0, 20, 120, 0); /* behind the other, with which the kernel may merge it */
	write_page(125);
	write_page(105);
	walk();
	precopy();
	write_page(126);
	write_page(106);
	expect_capture(false);
	write_page(127);
	write_page(107);
	expect_capture(false);
}

/* The kernel moves a whole page table at once, and what it says of the pages goes with them. */
Test(track_mappings, page_table_moved_over_another)
{
	char *source = (char *)ARENA_END + ARENA_PAGES * PAGE;
	map(0, ARENA_PAGES, PRIVATE, PROT_READ | PROT_WRITE);
	madvise(address_of(0), ARENA_PAGES * PAGE, MADV_NOHUGEPAGE);
	cr_assert_eq(mmap(source, ARENA_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			  -1, 0),
		     (void *)source);
	madvise(source, ARENA_PAGES * PAGE, MADV_NOHUGEPAGE);
	for (unsigned i = 0; i < ARENA_PAGES; i++) {
		write_page(i);
		memset(source + i * PAGE, (int)(1 + i % 255), PAGE);
	}
	settle();
	cr_assert_eq(
		mremap(source, ARENA_PAGES * PAGE, ARENA_PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, address_of(0)),
		address_of(0));
	if (back_end != RT_TRACK_WP_ASYNC)
		rt_track_register(tracker, address_of(0), ARENA_PAGES * PAGE, true);
	for (unsigned i = 0; i < ARENA_PAGES; i++) {
		memset(contents[i], (int)(1 + i % 255), PAGE);
		note_change(i);
	}
	expect_capture(false);
}

Test(track_mappings, huge_pages)
{
	const unsigned huge = 512;
	map(0, huge, PRIVATE, PROT_READ | PROT_WRITE);
	if (madvise(address_of(0), huge * PAGE, MADV_HUGEPAGE) != 0)
		cr_skip_test("this kernel has no transparent huge pages");
	for (unsigned i = 0; i < huge; i++)
		write_page(i);
	settle();
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 10; i++)
			write_page((unsigned)random_below(huge));
		expect_capture(rt_track_is_exact(tracker));
		precopy();
	}
}
