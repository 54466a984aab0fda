/*
 * RESPCT_VERIFY: while the threads are parked, everything the store would restore is compared
 * with memory. A difference is a defect of the runtime; the process ends with the address.
 */
#include <signal.h>
#include <string.h>

#include "base/message.h"
#include "base/sys.h"
#include "base/uapi.h"
#include "engine.h"
#include "layout.h"
#include "threads/thread.h"

#define LOOKS 1000 /* at a page that the kernel keeps taking away */

static void fail(const char *what, uint64_t address)
{
	rt_say("verify: %s at 0x%lx", what, (unsigned long)address);
	struct rt_kernel_sigaction action = {.handler = (void *)SIG_DFL};
	uint64_t mask = 1UL << (SIGABRT - 1);
	rt_syscall(SYS_rt_sigaction, SIGABRT, &action, NULL, sizeof(uint64_t));
	rt_syscall(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, &mask, NULL, sizeof(mask));
	rt_syscall(SYS_kill, rt_root.pid, SIGABRT);
	rt_syscall(SYS_exit_group, 125);
}

static void fail_difference(uint64_t address, const uint8_t *stored, const uint8_t *memory)
{
	uint64_t old = 0, now = 0;
	size_t length = RT_PAGE_SIZE - address % RT_PAGE_SIZE < 8 ? 1 : 8;
	memcpy(&old, stored, length);
	memcpy(&now, memory, length);
	rt_say("verify: stored 0x%lx, memory 0x%lx", (unsigned long)old, (unsigned long)now);
	fail("memory differs from the store", address);
}

/* The kernel writes a thread's rseq area whenever it moves the thread, parked or not. */
static bool in_rseq_area(const struct engine *engine, uint64_t address)
{
	for (int i = 0; i < engine->thread_count; i++) {
		const struct rt_thread *record = engine->threads[i].record;
		if (record != NULL && record->rseq_address != 0 && address >= record->rseq_address &&
		    address < record->rseq_address + record->rseq_length)
			return true;
	}
	return false;
}

/* Children run on while we are parked: of what they share, the store has some instant of the stop. */
static bool others_may_write(const struct engine *engine, const struct region *region)
{
	return region->kind == REGION_ANONYMOUS_SHARED && engine->forked;
}

/*
 * Zeros are what a restore puts where nothing is stored. Where the page of zeros cannot be told from others, a page of
 * zeros that is shared with a child passes for it, until the child ends or writes, which it may while we are parked.
 * And where nothing is registered, the kernel may at any time put a huge page in the place of holes (khugepaged).
 */
static bool is_as_good_as_absent(const struct engine *engine, const struct region *region)
{
	if (rt_track_is_exact(engine->tracker) || region->kind != REGION_ANONYMOUS || region->capture_all)
		return false;
	for (uint64_t i = 0; i < RT_PAGE_SIZE; i++)
		if (engine->copy_buffer[i] != 0)
			return false;
	return true;
}

/* What is known of the page that differs. */
static void describe_page(struct engine *engine, const struct region *region, uint64_t page)
{
	const struct region *before = rt_region_find(&engine->captured_regions, page);
	uint64_t categories = 0;
	rt_track_page(engine->tracker, page, &categories);
	rt_say("verify: mapping 0x%lx-0x%lx of kind %u%s, at the last capture of kind %u%s; the page is now 0x%lx",
	       (unsigned long)region->start, (unsigned long)region->end, (unsigned)region->kind,
	       region->capture_all ? " (gone)" : "", before ? (unsigned)before->kind : 0,
	       before && before->capture_all ? " (gone)" : "", (unsigned long)categories);
}

static void compare_page(struct engine *engine, const struct region *region, uint64_t page)
{
	const uint8_t *stored = rt_store_page(engine->store, page);
	if (others_may_write(engine, region))
		return;
	if (stored == NULL) {
		bool is_read = rt_read_page(engine, region, page, engine->copy_buffer) == 0;
		if (is_read ? !is_as_good_as_absent(engine, region) : !rt_region_may_be_cut(region))
			fail("page missing in the store", page);
		return;
	}
	if (rt_read_page(engine, region, page, engine->copy_buffer) < 0)
		fail("page cannot be read", page);
	if (memcmp(stored, engine->copy_buffer, RT_PAGE_SIZE) == 0)
		return;
	for (uint64_t i = 0; i < RT_PAGE_SIZE; i++)
		if (stored[i] != (uint8_t)engine->copy_buffer[i] && !in_rseq_area(engine, page + i)) {
			describe_page(engine, region, page);
			fail_difference(page + i, stored + i, (const uint8_t *)engine->copy_buffer + i);
		}
}

/*
 * A page of a private file mapping that is not present may be the file's, taken away by the kernel since
 * the capture: reading it tells, as there. One behind the end of a file that was cut is as good as none.
 */
static void verify_absent_file_page(struct engine *engine, const struct region *region, uint64_t page)
{
	uint64_t categories = 0;
	bool is_read = true;
	/* It may be taken away again at once. */
	for (int look = 0; look < LOOKS && is_read && (categories & PAGE_IS_PRESENT) == 0; look++) {
		is_read = rt_read_page(engine, region, page, engine->copy_buffer) == 0;
		if (rt_track_page(engine->tracker, page, &categories) < 0)
			fail("page cannot be looked up", page);
	}
	if (is_read && (categories & PAGE_IS_PRESENT) == 0)
		return;
	if (is_read && rt_track_has_contents(region, categories))
		compare_page(engine, region, page);
	else if (rt_store_page(engine->store, page) != NULL)
		fail("the store has a page where memory has none", page);
}

static int verify_range(void *context, const struct region *region, uint64_t start, uint64_t end, uint64_t categories)
{
	struct engine *engine = context;
	if (region->kind == REGION_FILE_PRIVATE && rt_track_has_contents(region, categories) &&
	    (categories & PAGE_IS_PRESENT) == 0) {
		for (uint64_t page = start; page < end; page += RT_PAGE_SIZE)
			verify_absent_file_page(engine, region, page);
	} else if (rt_track_has_contents(region, categories) ||
		   (region->capture_all && !(categories & PAGE_IS_GUARD))) {
		bool may_be_absent = rt_region_is_shared_memory(region) && !(categories & PAGE_IS_WRITTEN);
		for (uint64_t page = start; page < end; page += RT_PAGE_SIZE)
			if (!may_be_absent || rt_store_page(engine->store, page) != NULL)
				compare_page(engine, region, page);
	} else if (!region->capture_all && rt_store_count(engine->store, start, end) != 0) {
		fail("the store has a page where memory has none", start);
	}
	return 0;
}

/* Nothing may be stored outside the tracked regions. */
static void verify_gaps(struct engine *engine)
{
	uint64_t at = 0;
	for (size_t i = 0; i <= engine->regions.count; i++) {
		const struct region *region = &engine->regions.entries[i];
		bool last = i == engine->regions.count;
		if (!last && !region->tracked)
			continue;
		uint64_t page, end = last ? ~0UL & ~(RT_PAGE_SIZE - 1) : region->start;
		if (end > at && rt_store_next_page(engine->store, at, end, &page) &&
		    (page < RT_RESTORER_BASE || page >= RT_RESTORER_END))
			fail("the store has a page outside every mapping", page);
		at = last ? end : region->end;
	}
}

void rt_verify(struct engine *engine)
{
	verify_gaps(engine);
	if (rt_track_scan_all(engine->tracker, &engine->regions, verify_range, engine) < 0)
		fail("the scan failed", 0);
}
