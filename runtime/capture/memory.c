/*
 * Capturing memory: the pre-copy while the program runs, the residue while it is stopped.
 *
 * A page is protected first and copied after, so a write that tears the copy makes the page
 * dirty again, and the residue takes it again.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/memory.h"
#include "base/sys.h"
#include "base/uapi.h"
#include "engine.h"
#include "layout.h"
#include "memory/advice.h"

#define BATCH_PAGES 512 /* pages per process_vm_readv(); its limit is 1024 ranges */
#define FIRST_MISSED 512
#define MAX_PASSES 3
#define MANY_PAGES 512 /* a pass that took fewer is the last */

/* ---- the mappings ---- */

static bool is_covered(const struct engine *engine, const struct region *region)
{
	uint64_t end = region->offset + (region->end - region->start), covered = region->offset;
	while (covered < end)
		if (!rt_regions_cover(&engine->regions, rt_region_device(region), region->inode, covered, end,
				      &covered))
			return false;
	return true;
}

/*
 * A private mapping of shared memory (a memfd): when that is captured itself, through a descriptor or
 * through shared mappings, the mapping is one of a file like any other, and what is written to the
 * memory later shows in it. Otherwise all of its pages are captured.
 */
static void find_private_views(struct engine *engine)
{
	for (size_t i = 0; i < engine->regions.count; i++) {
		struct region *region = &engine->regions.entries[i];
		if (!region->capture_all || strncmp(rt_region_name(&engine->regions, region), "/memfd:", 7) != 0)
			continue;
		if (!is_covered(engine, region) &&
		    !rt_descriptors_hold(engine->descriptors, rt_region_device(region), region->inode))
			continue;
		region->kind = REGION_FILE_PRIVATE;
		region->flags |= REGION_OBJECT;
		region->capture_all = false;
	}
}

static void find_vdso(struct engine *engine)
{
	for (size_t i = 0; i < engine->regions.count && engine->vdso_end == 0; i++) {
		const struct region *region = &engine->regions.entries[i];
		if (strcmp(rt_region_name(&engine->regions, region), "[vdso]") != 0)
			continue;
		engine->vdso_start = region->start;
		engine->vdso_end = region->end;
	}
}

static int walk_mappings(struct engine *engine)
{
	int result = rt_regions_walk(engine->maps_fd, &engine->captured_regions, &engine->regions);
	if (result == 0)
		find_private_views(engine);
	if (result == 0 && engine->advice.count > 0)
		rt_capture_mark_growing(engine);
	if (engine->vdso_end == 0)
		find_vdso(engine);
	return result;
}

/* ---- pre-copy ---- */

struct precopy {
	struct engine *engine;
	uint64_t pages[BATCH_PAGES];
	size_t count;
};

static int note_missed(struct engine *engine, uint64_t page)
{
	struct missed_pages *missed = &engine->missed;
	if (missed->count == missed->capacity) {
		size_t capacity = missed->capacity ? 2 * missed->capacity : FIRST_MISSED;
		uint64_t *grown = missed->pages ? rt_memory_grow(missed->pages, missed->capacity * 8, capacity * 8)
						: rt_memory_map(capacity * 8);
		if (grown == NULL)
			return -ENOMEM;
		missed->pages = grown;
		missed->capacity = capacity;
	}
	missed->pages[missed->count++] = page;
	return 0;
}

/*
 * Copies up to `count` pages into adjacent slots, stopping at the first that cannot be read: a
 * running program may unmap memory at any instant, which must not fault here.
 */
static size_t copy_running_pages(const uint64_t *pages, size_t count, void *slots)
{
	struct iovec remote[BATCH_PAGES];
	for (size_t i = 0; i < count; i++)
		remote[i] = (struct iovec){(void *)pages[i], RT_PAGE_SIZE};
	struct iovec local = {slots, count * RT_PAGE_SIZE};
	long copied = rt_syscall(SYS_process_vm_readv, rt_root.pid, &local, 1, remote, count, 0);
	return copied < 0 ? 0 : (size_t)copied / RT_PAGE_SIZE;
}

static char *compare_buffer(struct engine *engine)
{
	if (engine->compare_buffer == NULL)
		engine->compare_buffer = rt_memory_map(BATCH_PAGES * RT_PAGE_SIZE);
	return engine->compare_buffer;
}

/* Where a scan leaves dirty what it reports, the same pages come again and again: only news is appended. */
static int flush_different(struct precopy *precopy)
{
	struct engine *engine = precopy->engine;
	char *copies = compare_buffer(engine);
	int result = copies != NULL ? 0 : -ENOMEM;
	for (size_t done = 0; done < precopy->count && result == 0;) {
		size_t copied = copy_running_pages(precopy->pages + done, precopy->count - done, copies);
		for (size_t i = 0; i < copied && result == 0; i++) {
			uint64_t page = precopy->pages[done + i];
			const void *stored = rt_store_page(engine->store, page);
			if (stored != NULL && memcmp(stored, copies + i * RT_PAGE_SIZE, RT_PAGE_SIZE) == 0)
				continue;
			result = rt_store_append(engine->store, page, copies + i * RT_PAGE_SIZE);
			engine->statistics.pages_precopied++;
		}
		/* The first that was not copied cannot be read: the stop will see. */
		done += copied + 1;
	}
	precopy->count = 0;
	return result;
}

static int flush_batch(struct precopy *precopy)
{
	if (!rt_track_cleans(precopy->engine->tracker))
		return flush_different(precopy);
	struct engine *engine = precopy->engine;
	size_t done = 0;
	int result = 0;
	while (done < precopy->count && result == 0) {
		char *slots = rt_store_slots(engine->store, precopy->count - done, &result);
		if (slots == NULL)
			return result ? result : -ENOMEM;
		size_t copied = copy_running_pages(precopy->pages + done, precopy->count - done, slots);
		for (size_t i = 0; i < copied && result == 0; i++)
			result = rt_store_append_slot(engine->store, i, precopy->pages[done + i]);
		rt_store_slots_done(engine->store);
		engine->statistics.pages_precopied += copied;
		done += copied;
		if (done < precopy->count && result == 0)
			result = note_missed(engine, precopy->pages[done++]);
	}
	precopy->count = 0;
	return result;
}

static int precopy_range(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	struct precopy *precopy = context;
	(void)region, (void)categories;
	for (uint64_t page = start; page < end; page += RT_PAGE_SIZE) {
		precopy->pages[precopy->count++] = page;
		if (precopy->count == BATCH_PAGES) {
			int result = flush_batch(precopy);
			if (result < 0)
				return result;
		}
	}
	return 0;
}

/*
 * Each pass takes what was dirtied during the one before; again while that pays: a pass that took
 * many pages took long enough for the program to dirty as many as the stop should not have to copy.
 */
int rt_capture_precopy(struct engine *engine)
{
	struct precopy precopy = {.engine = engine};
	int result = walk_mappings(engine);
	for (int pass = 0; pass < MAX_PASSES && result == 0; pass++) {
		uint64_t before = engine->statistics.pages_precopied;
		result = rt_track_scan_dirty(engine->tracker, &engine->regions, precopy_range, &precopy);
		if (result == 0)
			result = flush_batch(&precopy);
		if (engine->statistics.pages_precopied - before < MANY_PAGES || !rt_track_cleans(engine->tracker))
			break;
	}
	return result;
}

/* ---- residue ---- */

static bool is_safe_to_read(const struct region *region)
{
	return (region->prot & PROT_READ) != 0 && !rt_region_may_be_cut(region);
}

int rt_read_page(struct engine *engine, const struct region *region, uint64_t page, void *contents)
{
	if (is_safe_to_read(region)) {
		memcpy(contents, (const void *)page, RT_PAGE_SIZE);
		return 0;
	}
	ssize_t got = rt_sys_pread(engine->memory_fd, contents, RT_PAGE_SIZE, (off_t)page);
	return got == (ssize_t)RT_PAGE_SIZE ? 0 : got < 0 ? (int)got : -EIO;
}

/* A page that cannot be read: in a mapped file it lies behind the end, and would give SIGBUS after a restore, too. */
static int give_up_page(struct engine *engine, const struct region *region, uint64_t page, int error)
{
	if (!rt_region_may_be_cut(region))
		return error;
	return rt_store_drop(engine->store, page, page + RT_PAGE_SIZE);
}

static int append_page(struct engine *engine, const struct region *region, uint64_t page)
{
	engine->statistics.pages_written++;
	if (is_safe_to_read(region))
		return rt_store_append(engine->store, page, (const void *)page);
	int result = rt_read_page(engine, region, page, engine->copy_buffer);
	return result < 0 ? give_up_page(engine, region, page, result)
			  : rt_store_append(engine->store, page, engine->copy_buffer);
}

/* Appends the page unless the store has just these contents. */
static int append_if_different(struct engine *engine, const struct region *region, uint64_t page)
{
	const void *stored = rt_store_page(engine->store, page);
	if (stored == NULL)
		return append_page(engine, region, page);
	int result = rt_read_page(engine, region, page, engine->copy_buffer);
	if (result < 0)
		return give_up_page(engine, region, page, result);
	if (memcmp(stored, engine->copy_buffer, RT_PAGE_SIZE) == 0)
		return 0;
	engine->statistics.pages_written++;
	return rt_store_append(engine->store, page, engine->copy_buffer);
}

static int append_range(struct engine *engine, const struct region *region, uint64_t start, uint64_t end)
{
	int result = 0;
	for (uint64_t page = start; page < end && result == 0; page += RT_PAGE_SIZE)
		result = append_page(engine, region, page);
	return result;
}

static int compare_range(struct engine *engine, const struct region *region, uint64_t start, uint64_t end)
{
	int result = 0;
	for (uint64_t page = start; page < end && result == 0; page += RT_PAGE_SIZE)
		result = append_if_different(engine, region, page);
	return result;
}

/*
 * In a private file mapping a page that the program has discarded reads as swapped and not
 * written, although its contents are the file's again. Reading it tells the two apart.
 */
static int check_swapped_file_page(struct engine *engine, const struct region *region, uint64_t page)
{
	uint64_t categories;
	int result = rt_read_page(engine, region, page, engine->copy_buffer);
	if (result < 0)
		return give_up_page(engine, region, page, result);
	if ((result = rt_track_page(engine->tracker, page, &categories)) < 0)
		return result;
	if (!rt_track_has_contents(region, categories))
		return rt_store_drop(engine->store, page, page + RT_PAGE_SIZE);
	return append_if_different(engine, region, page);
}

/* Shared memory that may be swapped out: what was there before is compared. */
static int compare_stored(struct engine *engine, const struct region *region, uint64_t start, uint64_t end)
{
	uint64_t page;
	int result = 0;
	for (uint64_t at = start; result == 0 && rt_store_next_page(engine->store, at, end, &page);
	     at = page + RT_PAGE_SIZE)
		result = append_if_different(engine, region, page);
	return result;
}

/* Clean pages must be in the store already; what is missing all the same is added. */
static int check_clean_range(struct engine *engine, const struct region *region, uint64_t start, uint64_t end,
			     uint64_t categories)
{
	int result = 0;
	if (rt_region_is_shared_memory(region))
		return compare_stored(engine, region, start, end);
	if (region->kind == REGION_FILE_PRIVATE && (categories & PAGE_IS_PRESENT) == 0) {
		for (uint64_t page = start; page < end && result == 0; page += RT_PAGE_SIZE)
			result = check_swapped_file_page(engine, region, page);
		return result;
	}
	if (rt_store_count(engine->store, start, end) == (end - start) / RT_PAGE_SIZE)
		return 0;
	for (uint64_t page = start; page < end && result == 0; page += RT_PAGE_SIZE)
		if (rt_store_page(engine->store, page) == NULL)
			result = append_page(engine, region, page);
	return result;
}

static uint32_t discards;

void rt_memory_discarded(void)
{
	__atomic_add_fetch(&discards, 1, __ATOMIC_RELEASE);
}

/*
 * A page of a private file mapping that was written, captured and discarded is the file's again. When the program then
 * writes to it, the kernel first puts a copy of the file's page there, which looks like the page that was captured,
 * clean; the write itself, when the instruction is tried again, makes it dirty. A thread may be stopped between the two.
 */
static bool may_be_copied_anew(const struct engine *engine, const struct region *region, uint64_t categories)
{
	bool is_of_file = region->kind == REGION_FILE_PRIVATE || region->capture_all;
	return engine->discarded && is_of_file && rt_track_has_contents(region, categories) &&
	       (categories & (PAGE_IS_PRESENT | PAGE_IS_WRITTEN)) == PAGE_IS_PRESENT;
}

/*
 * In a private mapping of a file that is gone all pages are stored, and one that the program has discarded is the
 * file's again without a trace: neither written nor, once it was read, absent. So what is the file's is compared,
 * where the mapping can be written, and everywhere when the file has just gone: until then such pages were dropped.
 */
static bool may_be_discarded(const struct engine *engine, const struct region *region, uint64_t start,
			     uint64_t categories)
{
	if (!region->capture_all || (categories & PAGE_IS_GUARD) ||
	    (categories & (PAGE_IS_PRESENT | PAGE_IS_FILE)) == PAGE_IS_PRESENT)
		return false;
	const struct region *before = rt_region_find(&engine->captured_regions, start);
	return (region->prot & PROT_WRITE) != 0 || before == NULL || !before->capture_all;
}

static int capture_range(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	struct engine *engine = context;
	if (categories & PAGE_IS_GUARD && rt_advice_add(&engine->guards, start, end, ADVICE_GUARD) < 0)
		return -ENOMEM;
	if (may_be_discarded(engine, region, start, categories) || may_be_copied_anew(engine, region, categories))
		return compare_range(engine, region, start, end);
	if (!rt_track_has_contents(region, categories))
		return region->capture_all ? 0 : rt_store_drop(engine->store, start, end);
	bool may_be_unchanged = rt_region_is_shared_memory(region) || !rt_track_is_exact(engine->tracker);
	if (engine->recapture || (may_be_unchanged && (categories & PAGE_IS_WRITTEN)))
		return compare_range(engine, region, start, end);
	if (categories & PAGE_IS_WRITTEN)
		return append_range(engine, region, start, end);
	return check_clean_range(engine, region, start, end, categories);
}

static int capture_missed(struct engine *engine)
{
	int result = 0;
	for (size_t i = 0; i < engine->missed.count && result == 0; i++) {
		uint64_t page = engine->missed.pages[i];
		const struct region *region = rt_region_find(&engine->regions, page);
		if (region != NULL && region->tracked && rt_store_page(engine->store, page) != NULL)
			result = append_page(engine, region, page);
	}
	if (result == 0)
		engine->missed.count = 0;
	return result;
}

/* A private mapping of a file that is gone: pages never touched must be in the store, too. */
static int capture_whole_regions(struct engine *engine)
{
	for (size_t i = 0; i < engine->regions.count; i++) {
		const struct region *region = &engine->regions.entries[i];
		if (!region->capture_all)
			continue;
		uint64_t pages = (region->end - region->start) / RT_PAGE_SIZE;
		if (rt_store_count(engine->store, region->start, region->end) == pages)
			continue;
		int result = compare_range(engine, region, region->start, region->end);
		if (result < 0)
			return result;
	}
	return 0;
}

/* Drops what is stored in [start, end), but not what was never in memory there. */
static int drop_gap(struct engine *engine, uint64_t start, uint64_t end)
{
	uint64_t below = end < RT_RESTORER_BASE ? end : RT_RESTORER_BASE;
	uint64_t above = start > RT_RESTORER_END ? start : RT_RESTORER_END;
	int result = start < below ? rt_store_drop(engine->store, start, below) : 0;
	return result < 0 || above >= end ? result : rt_store_drop(engine->store, above, end);
}

/* Drops what is stored outside the tracked regions: unmapped, or mapped anew to a shared file. */
static int drop_gaps(struct engine *engine)
{
	uint64_t at = 0;
	for (size_t i = 0; i < engine->regions.count; i++) {
		const struct region *region = &engine->regions.entries[i];
		if (!region->tracked)
			continue;
		int result = region->start > at ? drop_gap(engine, at, region->start) : 0;
		if (result < 0)
			return result;
		at = region->end;
	}
	return drop_gap(engine, at, RT_USER_END + RT_PAGE_SIZE);
}

/* The kernel's code in our address space, for a restore under another kernel. It never changes. */
static int capture_vdso(struct engine *engine)
{
	uint64_t length = engine->vdso_end - engine->vdso_start;
	uint64_t stored_end = RT_STORED_VDSO + length;
	if (engine->vdso_stored && rt_store_count(engine->store, RT_STORED_VDSO, stored_end) == length / RT_PAGE_SIZE)
		return 0;
	int result = rt_store_drop(engine->store, stored_end, RT_RESTORER_END);
	for (uint64_t at = 0; at < length && result == 0; at += RT_PAGE_SIZE)
		result = rt_store_append(engine->store, RT_STORED_VDSO + at, (const void *)(engine->vdso_start + at));
	engine->vdso_stored = result == 0;
	return result;
}

int rt_capture_residue(struct engine *engine)
{
	int result = walk_mappings(engine);
	uint32_t discards_now = __atomic_load_n(&discards, __ATOMIC_ACQUIRE);
	engine->discarded = discards_now != engine->discards_seen;
	engine->guards.count = 0;
	if (result < 0 || (result = drop_gaps(engine)) < 0 ||
	    (result = rt_track_scan_all(engine->tracker, &engine->regions, capture_range, engine)) < 0 ||
	    (result = capture_missed(engine)) < 0 || (result = capture_whole_regions(engine)) < 0 ||
	    (result = capture_vdso(engine)) < 0 || (result = rt_track_captured(engine->tracker)) < 0)
		return result;
	engine->recapture = false;
	engine->discards_seen = discards_now;
	return 0;
}
