/*
 * Addresses are handed out in order; after the end of a part, its free addresses are found again. What
 * finds no place there is placed by the kernel.
 */
#include "window.h"

#include <errno.h>

#include "base/sys.h"
#include "engine.h"
#include "layout.h"

#define HUGE_PAGE (2UL << 20)

/* A block of more than one piece of its part would soon fill that: reservations have any size. */
#define PIECES 16
/* A part that has come round may be full. */
#define MAX_ATTEMPTS 256

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

/* Where the kernel likes, but not around the runtime's own area: of that it knows only what is mapped now. */
static void *map_elsewhere(size_t length, int prot, int flags)
{
	void *block = rt_sys_mmap(NULL, length, prot, flags, -1, 0);
	if (rt_is_error(block) || (uintptr_t)block >= RT_RESTORER_END || (uintptr_t)block + length <= RT_THREADS_BASE)
		return block;
	rt_sys_munmap(block, length);
	return (void *)(intptr_t)-ENOMEM;
}

static void *map_in(struct part *part, size_t length, size_t bytes, int prot, int flags)
{
	if (bytes > (part->end - part->base) / PIECES)
		return map_elsewhere(length, prot, flags);
	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
		void *block = rt_sys_mmap((void *)take(part, bytes), length, prot, flags | MAP_FIXED_NOREPLACE, -1, 0);
		if ((intptr_t)block != -EEXIST)
			return block;
	}
	return map_elsewhere(length, prot, flags);
}

void *rt_window_map(enum rt_window_part which, size_t length, int prot, int flags)
{
	size_t bytes = RT_PAGE_ALIGN_UP(length);
	if (length == 0 || bytes == 0 || bytes > RT_USER_END) {
		errno = length == 0 ? EINVAL : ENOMEM;
		return MAP_FAILED;
	}
	void *block = map_in(&parts[which], length, bytes, prot, flags);
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
