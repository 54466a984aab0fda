/*
 * Dirty tracking against a model, for the tests of it: each includes this, and is a process of its own.
 *
 * The test does to a piece of its own memory what programs do, and keeps a second copy of what the
 * memory must hold, so that it never has to look (reading a hole changes what a scan sees). A
 * third copy, the image, is kept by the scans alone, in the order in which the runtime uses them.
 * After each checkpoint the image must equal the model, byte for byte: no change was missed.
 */
#ifndef TRACK_MODEL_H
#define TRACK_MODEL_H

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

#include "random.h"
#include "runtime/base/memory.h"
#include "runtime/base/sys.h"
#include "runtime/base/uapi.h"
#include "runtime/memory/region.h"
#include "runtime/track/track.h"

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
static int maps_fd;
static struct rt_track_files files;
static enum rt_track_kind back_end; /* the back end under test: RESPCT_TRACK, or the best */

/* ---- the scans, as the runtime uses them ---- */

static inline void *address_of(unsigned page)
{
	return (void *)(ARENA + page * PAGE);
}

/* The regions of the arena; the rest of the process is not ours to protect. */
static inline void walk(void)
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

static inline void copy_page(uint64_t address)
{
	unsigned page = (unsigned)((address - ARENA) / PAGE);
	ssize_t got = pread(files.memory, image[page], PAGE, (off_t)address);
	cr_assert_eq(got, (ssize_t)PAGE, "%lx cannot be read: %d", address, errno);
	stored[page] = true;
}

static inline void drop_pages(uint64_t start, uint64_t end)
{
	for (; start < end; start += PAGE)
		stored[(start - ARENA) / PAGE] = false;
}

/* Pages that were protected when they could not be read. */
static uint64_t missed[ARENA_PAGES * 8];
static size_t missed_count;

/* process_vm_readv(), as the memory may be unmapped or unreadable by now. */
static inline int precopy_range(void *context, const struct region *region, uint64_t start, uint64_t end,
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

static inline void forget_changes(void)
{
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		pages[i].changed = false;
}

static inline void precopy(void)
{
	int result = rt_track_scan_dirty(tracker, &regions, precopy_range, NULL);
	cr_assert_eq(result, 0, "%d", result);
	if (rt_track_cleans(tracker))
		forget_changes();
}

/* Nobody but the model knows which pages may be reported although they hold what they held. */
static inline void expect_no_extra(uint64_t start, uint64_t end)
{
	for (uint64_t address = start; address < end; address += PAGE) {
		const struct page *page = &pages[(address - ARENA) / PAGE];
		cr_assert(page->changed || page->may_be_extra, "page %lu is reported and was not written",
			  (address - ARENA) / PAGE);
	}
}

/* The kernel calls a discarded page of a private file mapping swapped and clean: reading it tells. */
static inline void check_discarded_pages(const struct region *region, uint64_t start, uint64_t end)
{
	for (; start < end; start += PAGE) {
		uint64_t categories;
		copy_page(start);
		cr_assert_eq(rt_track_page(tracker, start, &categories), 0);
		if (!rt_track_has_contents(region, categories))
			drop_pages(start, start + PAGE);
	}
}

static inline int capture_range(void *context, const struct region *region, uint64_t start, uint64_t end,
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

static inline void drop_gaps(void)
{
	uint64_t at = ARENA;
	for (size_t i = 0; i < regions.count; i++) {
		drop_pages(at, regions.entries[i].start);
		at = regions.entries[i].end;
	}
	drop_pages(at, ARENA_END);
}

static inline void capture_missed(void)
{
	for (size_t i = 0; i < missed_count; i++)
		if (stored[(missed[i] - ARENA) / PAGE])
			copy_page(missed[i]);
	missed_count = 0;
}

static inline void capture(bool is_strict)
{
	walk();
	drop_gaps();
	int result = rt_track_scan_all(tracker, &regions, capture_range, &is_strict);
	cr_assert_eq(result, 0, "%d", result);
	capture_missed();
	cr_assert_eq(rt_track_captured(tracker), 0);
	if (!rt_track_cleans(tracker))
		forget_changes();
}

/* What restore would put at a page that the store does not have. */
static inline const uint8_t *contents_without(const struct page *page)
{
	static const uint8_t zeros[PAGE];
	return page->kind == FILE_PRIVATE ? file_contents[page->file_page] : zeros;
}

/* Where the page's contents are stored: of shared memory that is mapped twice, one mapping is captured. */
static inline unsigned captured_as(unsigned page)
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

static inline void expect_image(const char *when)
{
	for (unsigned i = 0; i < ARENA_PAGES; i++) {
		if (pages[i].kind == NOTHING) {
			cr_assert(!stored[i], "%s: page %u is stored and not mapped", when, i);
			continue;
		}
		unsigned at = captured_as(i);
		const uint8_t *found = stored[at] ? image[at] : contents_without(&pages[i]);
		cr_assert(memcmp(found, contents[i], PAGE) == 0, "%s: page %u, kind %d: %s", when, i, pages[i].kind,
			  stored[at] ? "an old version is stored" : "it is not stored");
	}
}

/* ---- start ---- */

static inline void open_files(void)
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
	cr_assert_eq(write(random_bytes, file_contents, sizeof(file_contents)), (ssize_t)sizeof(file_contents));
}

static inline void remove_files(void)
{
	char path[64];
	snprintf(path, sizeof(path), "/tmp/test_track.%d", getpid());
	unlink(path);
}

static inline void prepare(void)
{
	const char *step = "", *wanted = getenv(RT_TRACK_VARIABLE);
	maps_fd = open("/proc/self/maps", O_RDONLY);
	files.pagemap = open("/proc/self/pagemap", O_RDONLY);
	files.memory = open("/proc/self/mem", O_RDWR);
	cr_assert(rt_track_named(wanted) < RT_TRACK_KINDS, "%s", wanted);
	int result = rt_track_choose(rt_track_named(wanted), &back_end, &step);
	if (result < 0)
		cr_skip_test("%s: %s: %s", wanted ? wanted : "no tracking", step, strerror(-result));
	cr_assert_eq(rt_track_open_control(back_end, &files.control), 0);
	cr_assert_eq(rt_track_open(back_end, &files, &tracker), 0);
	open_files();
}

/* For what only holds where clean pages are known. */
static inline void require_tracking(void)
{
	if (back_end == RT_TRACK_COMPARE)
		cr_skip_test("nothing is tracked");
}

/* ---- what programs do ---- */

static inline void note_change(unsigned page)
{
	pages[page].changed = true;
}

static inline void map(unsigned first, unsigned count, enum kind kind, unsigned prot)
{
	unsigned file_page = kind == FILE_PRIVATE ? (unsigned)random_below(ARENA_PAGES - count + 1) : 0;
	int flags =
		MAP_FIXED | (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | (kind == FILE_PRIVATE ? 0 : MAP_ANONYMOUS);
	void *block = mmap(address_of(first), count * PAGE, (int)prot, flags, kind == FILE_PRIVATE ? file : -1,
			   (off_t)(file_page * PAGE));
	cr_assert_eq(block, address_of(first), "%d", errno);
	mappings++;
	for (unsigned i = 0; i < count; i++) {
		pages[first + i] = (struct page){kind, prot, mappings, file_page + i, true, true};
		memcpy(contents[first + i], contents_without(&pages[first + i]), PAGE);
	}
	/* As the shim does, where it sees it. */
	if (random_below(2))
		rt_track_register(tracker, block, count * PAGE, false);
}

static inline void unmap(unsigned first, unsigned count)
{
	cr_assert_eq(munmap(address_of(first), count * PAGE), 0);
	for (unsigned i = first; i < first + count; i++)
		pages[i].kind = NOTHING;
}

static inline void protect(unsigned first, unsigned count, unsigned prot)
{
	for (unsigned i = first; i < first + count; i++) {
		if (pages[i].kind == NOTHING)
			continue;
		cr_assert_eq(mprotect(address_of(i), PAGE, (int)prot), 0);
		pages[i].prot = prot;
	}
}

/* A page is written in the middle, at its start or end, or whole. */
static inline void write_page(unsigned page)
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
static inline void read_into_page(unsigned page)
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

static inline void read_page(unsigned page)
{
	if (pages[page].kind == NOTHING || !(pages[page].prot & PROT_READ))
		return;
	cr_assert(memcmp(address_of(page), contents[page], PAGE) == 0, "the model of page %u is wrong", page);
	if (pages[page].kind == SHARED) /* a page comes into being */
		pages[page].may_be_extra = true;
}

static inline void discard(unsigned first, unsigned count)
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
static inline unsigned same_mapping(unsigned first, unsigned count)
{
	unsigned i = first + 1;
	while (i < first + count && pages[i].kind != NOTHING && pages[i].mapping == pages[first].mapping &&
	       pages[i].prot == pages[first].prot && pages[i].file_page - pages[first].file_page == i - first)
		i++;
	return i - first;
}

/* The kernel refuses to move pieces that tracking has split; then nothing has happened. */
static inline void move(unsigned from, unsigned count, unsigned to, int more_flags)
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
	/* As the shim does; tracking by registration would find out by itself. */
	if (back_end != RT_TRACK_WP_ASYNC || random_below(2))
		rt_track_register(tracker, address_of(to), count * PAGE, true);
}

/* In place: the end goes, or comes back as new memory when nothing is there. */
static inline void resize(unsigned first, unsigned count)
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
static inline void fork_a_child(void)
{
	int ends[2];
	char byte;
	cr_assert_eq(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		for (unsigned i = 0; i < ARENA_PAGES; i += 3)
			if ((pages[i].kind == PRIVATE || pages[i].kind == FILE_PRIVATE) && pages[i].prot & PROT_WRITE)
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

static inline void change_mappings(unsigned first, unsigned count)
{
	static const unsigned prots[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
	switch (random_below(8)) {
	case 0: return map(first, count, 1 + random_below(KINDS - 1), prots[random_below(4)]);
	case 1: return unmap(first, count);
	case 2: return protect(first, count, prots[random_below(4)]);
	case 3: return protect(first, count, PROT_READ | PROT_WRITE);
	case 4: return move(first, count, (unsigned)random_below(ARENA_PAGES - count), 0);
	case 5:
		if (pages[first].kind == PRIVATE)
			move(first, count, (unsigned)random_below(ARENA_PAGES - count), MREMAP_DONTUNMAP);
		return;
	case 6: return resize(first, count);
	default: return discard(first, count);
	}
}

static inline void run_program(unsigned steps)
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
			change_mappings((unsigned)random_below(ARENA_PAGES - 24), 1 + (unsigned)random_below(24));
		else
			fork_a_child();
	}
}

/* Starts with some of everything. */
static inline void map_some(void)
{
	for (unsigned i = 0; i < ARENA_PAGES; i += 32)
		map(i, 24, 1 + i / 32 % (KINDS - 1), PROT_READ | PROT_WRITE);
}

static inline void expect_capture(bool is_strict)
{
	capture(is_strict);
	expect_image("");
}

static inline void settle(void)
{
	walk();
	expect_capture(false);
	precopy();
	precopy();
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		pages[i].may_be_extra = false;
}

static unsigned visited_pages;

static inline int count_contents(void *context, const struct region *region, uint64_t start, uint64_t end,
				 uint64_t categories)
{
	(void)context;
	if (rt_track_has_contents(region, categories))
		visited_pages += (unsigned)((end - start) / PAGE);
	return 0;
}

static inline int count_dirty(void *context, const struct region *region, uint64_t start, uint64_t end,
			      uint64_t categories)
{
	(void)context, (void)categories;
	cr_assert_null(region);
	visited_pages += (unsigned)((end - start) / PAGE);
	return 0;
}

static inline unsigned pages_with_contents(void)
{
	visited_pages = 0;
	walk();
	cr_assert_eq(rt_track_scan_all(tracker, &regions, count_contents, NULL), 0);
	return visited_pages;
}

static inline unsigned dirty_pages(void)
{
	visited_pages = 0;
	cr_assert_eq(rt_track_scan_dirty(tracker, &regions, count_dirty, NULL), 0);
	if (!rt_track_cleans(tracker))
		cr_assert_eq(rt_track_captured(tracker), 0);
	return visited_pages;
}

#endif
