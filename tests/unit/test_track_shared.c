/* Dirty tracking: shared memory, which changes behind the page table; see track_model.h. */
#include "track_model.h"

TestSuite(track_shared, .init = prepare, .fini = remove_files, .timeout = 300);

/* Discarding shared memory discards nothing: it is still there for whoever looks. */
Test(track_shared, shared_memory_discarded)
{
	map(0, 20, SHARED, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < 20; i++)
		write_page(i);
	settle();
	write_page(3);
	cr_assert_eq(madvise(address_of(0), 20 * PAGE, MADV_DONTNEED), 0);
	expect_capture(false);
}

Test(track_shared, shared_memory_written_by_a_child)
{
	map(0, 20, SHARED, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < 10; i++)
		write_page(i);
	settle();
	pid_t child = fork();
	if (child == 0) {
		memset(address_of(3), 0x55, PAGE);
		memset(address_of(15), 0x66, PAGE);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, NULL, 0), child);
	memset(contents[3], 0x55, PAGE);
	memset(contents[15], 0x66, PAGE);
	expect_capture(false);
}

/* The same pages at two places, as ring buffers have it. */
Test(track_shared, shared_memory_mapped_twice)
{
	int fd = memfd_create("ring", 0);
	cr_assert_eq(ftruncate(fd, 20 * PAGE), 0);
	for (unsigned i = 0; i < 40; i += 20) {
		cr_assert_eq(mmap(address_of(i), 20 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
			     address_of(i));
		for (unsigned j = i; j < i + 20; j++)
			pages[j] = (struct page){SHARED, PROT_READ | PROT_WRITE, 1, 0, true, true};
	}
	memset(address_of(4), 0x11, PAGE);
	memset(contents[4], 0x11, PAGE);
	memset(contents[24], 0x11, PAGE);
	read_page(24);
	settle();
	memset(address_of(4), 0x22, PAGE);
	memset(address_of(30), 0x33, PAGE);
	memset(contents[4], 0x22, PAGE);
	memset(contents[24], 0x22, PAGE);
	memset(contents[10], 0x33, PAGE);
	memset(contents[30], 0x33, PAGE);
	expect_capture(false);
}
