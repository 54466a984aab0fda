/*
 * Dirty tracking against a model.
 *
 * The test does to a piece of its own memory what programs do, and keeps a second copy of what the
 * memory must hold, so that it never has to look (reading a hole changes what a scan sees). A
 * third copy, the image, is kept by the scans alone, in the order in which the runtime uses them.
 * After each checkpoint the image must equal the model, byte for byte: no change was missed.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/region.h"
#include "runtime/sys.h"
#include "runtime/track.h"
#include "runtime/uapi.h"
#include "random.h"

#define PAGE 4096UL
#define ARENA 0x130000000000UL
#define ARENA_PAGES 512
#define ARENA_END (ARENA + ARENA_PAGES * PAGE)

enum kind { NOTHING, PRIVATE, SHARED, FILE_PRIVATE, KINDS };

/* One page of the model. */
struct page {
	enum kind kind;
	unsigned prot;
	unsigned mapping; /* number of the mmap() it comes from */
	unsigned file_page;
	bool changed;      /* since the last scan that protects */
	bool may_be_extra; /* may be reported as written although it was not changed since then */
};

static struct page pages[ARENA_PAGES];
static uint8_t contents[ARENA_PAGES][PAGE]; /* what memory must hold */
static uint8_t image[ARENA_PAGES][PAGE];    /* what the scans have found */
static bool stored[ARENA_PAGES];            /* whether the image has the page */
static uint8_t file_contents[ARENA_PAGES][PAGE];
static int file, random_bytes;
static unsigned mappings;

static struct rt_tracker *tracker;
static struct region_table regions, all_regions, no_previous;
static int maps_fd, pagemap_fd, uffd, memory_fd;

/* ---- the scans, as the runtime uses them ---- */

static void *address_of(unsigned page)
{
	return (void *)(ARENA + page * PAGE);
}

/* The regions of the arena; the rest of the process is not ours to protect. */
static void walk(void)
{
	int result = rt_regions_walk(maps_fd, &no_previous, &all_regions);
	cr_assert_eq(result, 0, "%d", result);
	regions = all_regions;
	while (regions.count > 0 && regions.entries->start < ARENA) {
		regions.entries++;
		regions.count--;
	}
	while (regions.count > 0 && regions.entries[regions.count - 1].start >= ARENA_END)
		regions.count--;
}

static void copy_page(uint64_t address)
{
	unsigned page = (unsigned)((address - ARENA) / PAGE);
	ssize_t got = pread(memory_fd, image[page], PAGE, (off_t)address);
	cr_assert_eq(got, (ssize_t)PAGE, "%lx cannot be read: %d", address, errno);
	stored[page] = true;
}

static void drop_pages(uint64_t start, uint64_t end)
{
	for (; start < end; start += PAGE)
		stored[(start - ARENA) / PAGE] = false;
}

/* Pages that were protected when they could not be read. */
static uint64_t missed[ARENA_PAGES * 8];
static size_t missed_count;

/* process_vm_readv(), as the memory may be unmapped or unreadable by now. */
static int precopy_range(void *context, const struct region *region, uint64_t start, uint64_t end,
			 uint64_t categories)
{
	(void)context, (void)region, (void)categories;
	for (uint64_t address = start; address < end; address += PAGE) {
		unsigned page = (unsigned)((address - ARENA) / PAGE);
		struct iovec local = {image[page], PAGE}, remote = {(void *)address, PAGE};
		cr_assert(page < ARENA_PAGES);
		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)PAGE)
			stored[page] = true;
		else
			missed[missed_count++] = address;
	}
	return 0;
}

static void precopy(void)
{
	int result = rt_track_scan_dirty(tracker, &regions, precopy_range, NULL);
	cr_assert_eq(result, 0, "%d", result);
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		pages[i].changed = false;
}

/* Nobody but the model knows which pages may be reported although they hold what they held. */
static void expect_no_extra(uint64_t start, uint64_t end)
{
	for (uint64_t address = start; address < end; address += PAGE) {
		const struct page *page = &pages[(address - ARENA) / PAGE];
		cr_assert(page->changed || page->may_be_extra, "page %lu is reported and was not written",
			  (address - ARENA) / PAGE);
	}
}

/* The kernel calls a discarded page of a private file mapping swapped and clean: reading it tells. */
static void check_discarded_pages(const struct region *region, uint64_t start, uint64_t end)
{
	for (; start < end; start += PAGE) {
		uint64_t categories;
		copy_page(start);
		cr_assert_eq(rt_track_page(tracker, start, &categories), 0);
		if (!rt_track_has_contents(region, categories))
			drop_pages(start, start + PAGE);
	}
}

static int capture_range(void *context, const struct region *region, uint64_t start, uint64_t end,
			 uint64_t categories)
{
	bool *is_strict = context;
	cr_assert(region->tracked && region->start <= start && end <= region->end);
	if (!rt_track_has_contents(region, categories)) {
		drop_pages(start, end);
	} else if (categories & PAGE_IS_WRITTEN) {
		/* Shared memory counts as written always: others may write it without a trace here. */
		if (*is_strict && region->kind != REGION_ANONYMOUS_SHARED)
			expect_no_extra(start, end);
		for (; start < end; start += PAGE)
			copy_page(start);
	} else if (region->kind == REGION_FILE_PRIVATE && !(categories & PAGE_IS_PRESENT)) {
		check_discarded_pages(region, start, end);
	} else {
		for (; start < end; start += PAGE)
			if (!stored[(start - ARENA) / PAGE])
				copy_page(start);
	}
	return 0;
}

static void drop_gaps(void)
{
	uint64_t at = ARENA;
	for (size_t i = 0; i < regions.count; i++) {
		drop_pages(at, regions.entries[i].start);
		at = regions.entries[i].end;
	}
	drop_pages(at, ARENA_END);
}

static void capture_missed(void)
{
	for (size_t i = 0; i < missed_count; i++)
		if (stored[(missed[i] - ARENA) / PAGE])
			copy_page(missed[i]);
	missed_count = 0;
}

static void capture(bool is_strict)
{
	walk();
	drop_gaps();
	int result = rt_track_scan_all(tracker, &regions, capture_range, &is_strict);
	cr_assert_eq(result, 0, "%d", result);
	capture_missed();
}

/* What restore would put at a page that the store does not have. */
static const uint8_t *contents_without(const struct page *page)
{
	static const uint8_t zeros[PAGE];
	return page->kind == FILE_PRIVATE ? file_contents[page->file_page] : zeros;
}

/* Where the page's contents are stored: of shared memory that is mapped twice, one mapping is captured. */
static unsigned captured_as(unsigned page)
{
	uint64_t address = ARENA + page * PAGE;
	const struct region *region = rt_region_find(&regions, address);
	for (size_t i = 0; region != NULL && !region->tracked && i < regions.count; i++) {
		const struct region *other = &regions.entries[i];
		uint64_t offset = region->offset + (address - region->start) - other->offset;
		if (other->tracked && other->inode == region->inode && offset < other->end - other->start)
			return (unsigned)((other->start + offset - ARENA) / PAGE);
	}
	return page;
}

static void expect_image(const char *when)
{
	for (unsigned i = 0; i < ARENA_PAGES; i++) {
		if (pages[i].kind == NOTHING) {
			cr_assert(!stored[i], "%s: page %u is stored and not mapped", when, i);
			continue;
		}
		unsigned at = captured_as(i);
		const uint8_t *found = stored[at] ? image[at] : contents_without(&pages[i]);
		cr_assert(memcmp(found, contents[i], PAGE) == 0, "%s: page %u, kind %d: %s", when, i,
			  pages[i].kind, stored[at] ? "an old version is stored" : "it is not stored");
	}
}

/* ---- start ---- */

static void open_files(void)
{
	file = memfd_create("mapped", 0);
	char path[64];
	/* A memfd has no name that restore could open; this file does while the test runs. */
	snprintf(path, sizeof(path), "/tmp/test_track.%d", getpid());
	close(file);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		for (unsigned j = 0; j < PAGE; j += 8)
			memcpy(&file_contents[i][j], &(uint64_t){next_random()}, 8);
	cr_assert_eq(write(file, file_contents, sizeof(file_contents)), (ssize_t)sizeof(file_contents));
	random_bytes = memfd_create("random", 0);
	cr_assert_eq(write(random_bytes, file_contents, sizeof(file_contents)),
		     (ssize_t)sizeof(file_contents));
}

static void remove_files(void)
{
	char path[64];
	snprintf(path, sizeof(path), "/tmp/test_track.%d", getpid());
	unlink(path);
}

static void prepare(void)
{
	maps_fd = open("/proc/self/maps", O_RDONLY);
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY);
	memory_fd = open("/proc/self/mem", O_RDWR);
	uffd = rt_track_open_uffd();
	if (uffd < 0)
		cr_skip_test("userfaultfd with UFFD_FEATURE_WP_ASYNC: %s", strerror(-uffd));
	struct pm_scan_arg scan = {.size = sizeof(scan), .start = ARENA, .end = ARENA};
	if (rt_sys_ioctl(pagemap_fd, PAGEMAP_SCAN, &scan) == -ENOTTY)
		cr_skip_test("this kernel has no PAGEMAP_SCAN");
	cr_assert_eq(rt_track_open(pagemap_fd, uffd, &tracker), 0);
	open_files();
}

TestSuite(track, .init = prepare, .fini = remove_files, .timeout = 300);

Test(track, self_test)
{
	const char *step = "";
	int result = rt_track_self_test(&step);
	cr_assert_eq(result, 0, "%s: %d", step, result);
	/* It leaves nothing behind. */
	int next = dup(0);
	rt_track_self_test(&step);
	int after = dup(0);
	cr_assert_eq(after, next + 1);
}

/* ---- what programs do ---- */

static void note_change(unsigned page)
{
	pages[page].changed = true;
}

static void map(unsigned first, unsigned count, enum kind kind, unsigned prot)
{
	unsigned file_page = kind == FILE_PRIVATE ? (unsigned)random_below(ARENA_PAGES - count + 1) : 0;
	int flags = MAP_FIXED | (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) |
		    (kind == FILE_PRIVATE ? 0 : MAP_ANONYMOUS);
	void *block = mmap(address_of(first), count * PAGE, (int)prot, flags,
			   kind == FILE_PRIVATE ? file : -1, (off_t)(file_page * PAGE));
	cr_assert_eq(block, address_of(first), "%d", errno);
	mappings++;
	for (unsigned i = 0; i < count; i++) {
		pages[first + i] = (struct page){kind, prot, mappings, file_page + i, true, true};
		memcpy(contents[first + i], contents_without(&pages[first + i]), PAGE);
	}
	/* As the shim does, where it sees it. */
	if (random_below(2))
		rt_track_register(uffd, block, count * PAGE);
}

static void unmap(unsigned first, unsigned count)
{
	cr_assert_eq(munmap(address_of(first), count * PAGE), 0);
	for (unsigned i = first; i < first + count; i++)
		pages[i].kind = NOTHING;
}

static void protect(unsigned first, unsigned count, unsigned prot)
{
	for (unsigned i = first; i < first + count; i++) {
		if (pages[i].kind == NOTHING)
			continue;
		cr_assert_eq(mprotect(address_of(i), PAGE, (int)prot), 0);
		pages[i].prot = prot;
	}
}

/* A page is written in the middle, at its start or end, or whole. */
static void write_page(unsigned page)
{
	if (pages[page].kind == NOTHING || !(pages[page].prot & PROT_WRITE))
		return;
	uint64_t value = next_random();
	size_t offset = random_below(PAGE / 8) * 8, length = random_below(4) ? 8 : PAGE - offset;
	for (size_t i = offset; i < offset + length; i += 8) {
		memcpy(&contents[page][i], &value, 8);
		memcpy((char *)address_of(page) + i, &value, 8);
	}
	note_change(page);
}

/* Written by the kernel. */
static void read_into_page(unsigned page)
{
	if (pages[page].kind == NOTHING || !(pages[page].prot & PROT_WRITE))
		return;
	size_t offset = random_below(PAGE), length = 1 + random_below(PAGE - offset);
	unsigned from = (unsigned)random_below(ARENA_PAGES);
	cr_assert_eq(pread(random_bytes, (char *)address_of(page) + offset, length, (off_t)(from * PAGE)),
		     (ssize_t)length);
	memcpy(contents[page] + offset, file_contents[from], length);
	note_change(page);
}

static void read_page(unsigned page)
{
	if (pages[page].kind == NOTHING || !(pages[page].prot & PROT_READ))
		return;
	cr_assert(memcmp(address_of(page), contents[page], PAGE) == 0, "the model of page %u is wrong", page);
	if (pages[page].kind == SHARED) /* a page comes into being */
		pages[page].may_be_extra = true;
}

static void discard(unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++) {
		if (pages[i].kind == NOTHING || pages[i].kind == SHARED)
			continue;
		cr_assert_eq(madvise(address_of(i), PAGE, MADV_DONTNEED), 0);
		memcpy(contents[i], contents_without(&pages[i]), PAGE);
		note_change(i);
	}
}

/* How many pages from `first` on, at most `count`, are one mapping of one protection. */
static unsigned same_mapping(unsigned first, unsigned count)
{
	unsigned i = first + 1;
	while (i < first + count && pages[i].kind != NOTHING && pages[i].mapping == pages[first].mapping &&
	       pages[i].prot == pages[first].prot && pages[i].file_page - pages[first].file_page == i - first)
		i++;
	return i - first;
}

/* The kernel refuses to move pieces that tracking has split; then nothing has happened. */
static void move(unsigned from, unsigned count, unsigned to, int more_flags)
{
	if (pages[from].kind == NOTHING)
		return;
	count = same_mapping(from, count);
	if (to < from + count && from < to + count)
		return;
	if (mremap(address_of(from), count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | more_flags,
		   address_of(to)) == MAP_FAILED) {
		cr_assert(errno == EFAULT || errno == EINVAL, "%d", errno);
		munmap(address_of(to), count * PAGE);
		for (unsigned i = to; i < to + count; i++)
			pages[i].kind = NOTHING;
		return;
	}
	mappings++;
	for (unsigned i = 0; i < count; i++) {
		pages[to + i] = pages[from + i];
		pages[to + i].mapping = mappings;
		pages[to + i].changed = pages[to + i].may_be_extra = true;
		memcpy(contents[to + i], contents[from + i], PAGE);
		if (more_flags == 0) {
			pages[from + i].kind = NOTHING;
		} else { /* the old place stays mapped, without pages */
			memcpy(contents[from + i], contents_without(&pages[from + i]), PAGE);
			pages[from + i].changed = pages[from + i].may_be_extra = true;
		}
	}
	if (random_below(2))
		rt_track_register(uffd, address_of(to), count * PAGE);
}

/* In place: the end goes, or comes back as new memory when nothing is there. */
static void resize(unsigned first, unsigned count)
{
	if (pages[first].kind != PRIVATE)
		return;
	count = same_mapping(first, count);
	unsigned kept = 1 + (unsigned)random_below(count);
	if (mremap(address_of(first), count * PAGE, kept * PAGE, 0) == MAP_FAILED)
		return;
	for (unsigned i = first + kept; i < first + count; i++)
		pages[i].kind = NOTHING;
	if (mremap(address_of(first), kept * PAGE, count * PAGE, 0) == MAP_FAILED)
		return;
	for (unsigned i = first + kept; i < first + count; i++) {
		pages[i] = pages[first];
		pages[i].changed = pages[i].may_be_extra = true;
		memset(contents[i], 0, PAGE);
	}
}

/* A child that writes to its copy, while it lives and this process writes, too. */
static void fork_a_child(void)
{
	int ends[2];
	char byte;
	cr_assert_eq(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		for (unsigned i = 0; i < ARENA_PAGES; i += 3)
			if ((pages[i].kind == PRIVATE || pages[i].kind == FILE_PRIVATE) &&
			    pages[i].prot & PROT_WRITE)
				*(volatile char *)address_of(i) = 1;
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) != 0);
	}
	for (unsigned i = 0; i < 10; i++)
		write_page((unsigned)random_below(ARENA_PAGES));
	close(ends[0]);
	close(ends[1]);
	cr_assert_eq(waitpid(child, NULL, 0), child);
}

static void change_mappings(unsigned first, unsigned count)
{
	static const unsigned prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
					 PROT_NONE};
	switch (random_below(8)) {
	case 0:
		return map(first, count, 1 + random_below(KINDS - 1), prots[random_below(4)]);
	case 1:
		return unmap(first, count);
	case 2:
		return protect(first, count, prots[random_below(4)]);
	case 3:
		return protect(first, count, PROT_READ | PROT_WRITE);
	case 4:
		return move(first, count, (unsigned)random_below(ARENA_PAGES - count), 0);
	case 5:
		if (pages[first].kind == PRIVATE)
			move(first, count, (unsigned)random_below(ARENA_PAGES - count), MREMAP_DONTUNMAP);
		return;
	case 6:
		return resize(first, count);
	default:
		return discard(first, count);
	}
}

static void run_program(unsigned steps)
{
	while (steps-- > 0) {
		unsigned page = (unsigned)random_below(ARENA_PAGES), what = (unsigned)random_below(100);
		if (what < 60)
			write_page(page);
		else if (what < 75)
			read_page(page);
		else if (what < 85)
			read_into_page(page);
		else if (what < 99)
			change_mappings((unsigned)random_below(ARENA_PAGES - 24),
					1 + (unsigned)random_below(24));
		else
			fork_a_child();
	}
}

/* Starts with some of everything. */
static void map_some(void)
{
	for (unsigned i = 0; i < ARENA_PAGES; i += 32)
		map(i, 24, 1 + i / 32 % (KINDS - 1), PROT_READ | PROT_WRITE);
}

/* Checkpoints with and without a pre-copy, whose list of regions may be an old one. */
static void random_life(uint64_t seed, unsigned checkpoints)
{
	char when[80];
	random_state = seed;
	map_some();
	walk();
	for (unsigned i = 0; i < checkpoints; i++) {
		run_program((unsigned)random_below(100));
		if (random_below(4) != 0) {
			walk();
			if (random_below(3) == 0)
				run_program((unsigned)random_below(20));
			precopy();
		}
		run_program((unsigned)random_below(20));
		capture(false);
		snprintf(when, sizeof(when), "seed %lu, checkpoint %u", seed, i);
		expect_image(when);
	}
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		read_page(i);
}

/* All the random tests: a seed each, given by RESPCT_TEST_SEED when one is to be tried again. */
#define RANDOM_LIFE(number)                                   \
	Test(track, random_life_##number)                     \
	{                                                     \
		random_life(seed_random(1000 + number), 600); \
	}

RANDOM_LIFE(1)
RANDOM_LIFE(2)
RANDOM_LIFE(3)
RANDOM_LIFE(4)

/* ---- nothing is reported that was not written ---- */

static void expect_capture(bool is_strict)
{
	capture(is_strict);
	expect_image("");
}

static void settle(void)
{
	walk();
	expect_capture(false);
	precopy();
	precopy();
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		pages[i].may_be_extra = false;
}

/* Without changes of the mappings, what is reported is what was written. */
Test(track, no_extra_pages)
{
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

static unsigned visited_pages;

static int count_contents(void *context, const struct region *region, uint64_t start, uint64_t end,
			  uint64_t categories)
{
	(void)context;
	if (rt_track_has_contents(region, categories))
		visited_pages += (unsigned)((end - start) / PAGE);
	return 0;
}

static int count_dirty(void *context, const struct region *region, uint64_t start, uint64_t end,
		       uint64_t categories)
{
	(void)context, (void)categories;
	cr_assert_null(region);
	visited_pages += (unsigned)((end - start) / PAGE);
	return 0;
}

static unsigned pages_with_contents(void)
{
	visited_pages = 0;
	walk();
	cr_assert_eq(rt_track_scan_all(tracker, &regions, count_contents, NULL), 0);
	return visited_pages;
}

static unsigned dirty_pages(void)
{
	visited_pages = 0;
	cr_assert_eq(rt_track_scan_dirty(tracker, &regions, count_dirty, NULL), 0);
	return visited_pages;
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

static int count_visits(void *context, const struct region *region, uint64_t start, uint64_t end,
			uint64_t categories)
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
static void expect_scan_of_many(int (*scan)(struct rt_tracker *, const struct region_table *, rt_track_visit,
					    void *),
				uint8_t most)
{
	memset(visits, 0, sizeof(visits));
	cr_assert_eq(scan(tracker, &all_regions, count_visits, NULL), 0);
	for (uint64_t i = 0; i < MANY_PAGES; i++)
		cr_assert(i % 2 ? visits[i] == 0 : visits[i] >= 1 && visits[i] <= most, "page %lu: %d visits",
			  i, visits[i]);
}

Test(track, more_ranges_than_one_scan_returns)
{
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
		visited_pages = 0;
		cr_assert_eq(rt_track_scan_dirty(tracker, &all_regions, count_dirty, NULL), 0);
		cr_assert_eq(visited_pages, 0u);
	}
}

/* A huge reservation costs no page tables, and no time. */
Test(track, sparse_reservation)
{
	const size_t length = 1UL << 40;
	void *block = mmap((void *)(ARENA + (1UL << 30)), length, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (block == MAP_FAILED)
		cr_skip_test("no terabyte of addresses");
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

/* One mapping is captured when it was never registered by anybody else. */
Test(track, mapping_that_nobody_registered)
{
	for (unsigned i = 0; i < 4; i++) {
		mmap(address_of(8 * i), 4 * PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
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
Test(track, registration_lost_by_mremap)
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

Test(track, huge_pages)
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
		expect_capture(true);
		precopy();
	}
}

/* A visit that fails ends the scan with its error, and nothing is lost: the caller captures anew. */
static int fail_visit(void *context, const struct region *region, uint64_t start, uint64_t end,
		      uint64_t categories)
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
	cr_assert_eq(rt_track_scan_dirty(tracker, &regions, fail_visit, NULL), -ENOSPC);
}

Test(track, forget_all)
{
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

/* ---- shared memory that changes, or goes, behind the page table ---- */

/* Discarding shared memory discards nothing: it is still there for whoever looks. */
Test(track, shared_memory_discarded)
{
	map(0, 20, SHARED, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < 20; i++)
		write_page(i);
	settle();
	write_page(3);
	cr_assert_eq(madvise(address_of(0), 20 * PAGE, MADV_DONTNEED), 0);
	expect_capture(false);
}

Test(track, shared_memory_written_by_a_child)
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
Test(track, shared_memory_mapped_twice)
{
	int fd = memfd_create("ring", 0);
	cr_assert_eq(ftruncate(fd, 20 * PAGE), 0);
	for (unsigned i = 0; i < 40; i += 20) {
		cr_assert_eq(
			mmap(address_of(i), 20 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0),
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

/* ---- threads ---- */

#define WRITERS 3
#define ROUNDS 40
#define SCANS 15

static pthread_barrier_t parked, released;
static bool writing, ending;

/* Each writes to the pages of its remainder, by itself and through the kernel. */
static void *write_pages(void *argument)
{
	uint64_t state = 1 + (uint64_t)(uintptr_t)argument, number = (uint64_t)(uintptr_t)argument;
	for (;;) {
		pthread_barrier_wait(&released);
		if (ending)
			return NULL;
		while (__atomic_load_n(&writing, __ATOMIC_ACQUIRE)) {
			state = state * 6364136223846793005UL + 1442695040888963407UL;
			unsigned page =
				(unsigned)((state >> 33) % (ARENA_PAGES / WRITERS) * WRITERS + number);
			volatile uint64_t *words = address_of(page);
			if (state >> 60 == 0)
				(void)!pread(random_bytes, address_of(page), 100, (off_t)(state >> 50));
			else if (state >> 60 == 1)
				madvise(address_of(page), PAGE, MADV_DONTNEED);
			else
				words[(state >> 20) % 512] = state;
		}
		pthread_barrier_wait(&parked);
	}
}

/* What is in memory now is what must be in the image: nobody writes any more. */
static void take_contents(void)
{
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		memcpy(contents[i], address_of(i), PAGE);
}

Test(track, threads)
{
	pthread_t threads[WRITERS];
	pthread_barrier_init(&parked, NULL, WRITERS + 1);
	pthread_barrier_init(&released, NULL, WRITERS + 1);
	map(0, ARENA_PAGES, PRIVATE, PROT_READ | PROT_WRITE);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&threads[i], NULL, write_pages, (void *)i);
	for (unsigned round = 0; round < ROUNDS; round++) {
		writing = true;
		pthread_barrier_wait(&released);
		for (unsigned i = 0; i < SCANS; i++) {
			walk();
			precopy();
			usleep(random_below(500));
		}
		__atomic_store_n(&writing, false, __ATOMIC_RELEASE);
		pthread_barrier_wait(&parked);
		capture(false);
		take_contents();
		expect_image("with threads");
	}
	ending = true;
	pthread_barrier_wait(&released);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
}
