/* Addresses are handed out in order; after the end of a part, its free addresses are found again. */
#include "window.h"

#include <errno.h>

#include "engine.h"
#include "layout.h"
#include "sys.h"

#define HUGE_PAGE (2UL << 20)

struct part {
	uintptr_t base, end;
	uintptr_t next; /* atomic */
};

static struct part parts[] = {
	[RT_WINDOW_HEAP] = {RT_WINDOW_HEAP_BASE, RT_WINDOW_HEAP_END, RT_WINDOW_HEAP_BASE},
	[RT_WINDOW_MAPS] = {RT_WINDOW_MAP_BASE, RT_WINDOW_MAP_END, RT_WINDOW_MAP_BASE},
	[RT_WINDOW_STACKS] = {RT_WINDOW_STACK_BASE, RT_WINDOW_STACK_END, RT_WINDOW_STACK_BASE},
};

/* Addresses for `length` bytes; large blocks start at a huge page's border. */
static uintptr_t take(struct part *part, size_t length)
{
	size_t alignment = length >= HUGE_PAGE ? HUGE_PAGE : RT_PAGE_SIZE;
	uintptr_t old = __atomic_load_n(&part->next, __ATOMIC_RELAXED), start;
	do {
		start = (old + alignment - 1) & ~(alignment - 1);
		if (start + length > part->end)
			start = part->base;
	} while (!__atomic_compare_exchange_n(&part->next, &old, start + length, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return start;
}

void *rt_window_map(enum rt_window_part which, size_t length, int prot, int flags)
{
	struct part *part = &parts[which];
	size_t bytes = RT_PAGE_ALIGN_UP(length);
	if (length == 0 || bytes == 0 || bytes > part->end - part->base) {
		errno = length == 0 ? EINVAL : ENOMEM;
		return MAP_FAILED;
	}
	void *block;
	do {
		block = rt_sys_mmap((void *)take(part, bytes), length, prot, flags | MAP_FIXED_NOREPLACE, -1, 0);
	} while ((intptr_t)block == -EEXIST);
	if (!rt_is_error(block)) {
		rt_new_mapping(block, bytes);
		return block;
	}
	errno = -(int)(intptr_t)block;
	return MAP_FAILED;
}

/* With all signals blocked. */
static void register_mapping(const void *start, size_t length, bool moved)
{
	const struct engine *engine = __atomic_load_n(&rt_root.engine, __ATOMIC_ACQUIRE);
	if (engine != NULL && rt_is_protected())
		rt_track_register(engine->tracker, start, length, moved);
}

void rt_new_mapping(const void *start, size_t length)
{
	/* A stop between its two steps would find the mapping registered and its pages not yet written. */
	uint64_t mask = rt_block_stops();
	register_mapping(start, length, false);
	rt_unblock_stops(mask);
}

void rt_moved_mapping(const void *start, size_t length)
{
	register_mapping(start, length, true);
}

uint64_t rt_block_stops(void)
{
	uint64_t all = ~0UL, mask = 0;
	rt_syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &mask, sizeof(all));
	return mask;
}

void rt_unblock_stops(uint64_t mask)
{
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
}
