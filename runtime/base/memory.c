/*
 * Hands out addresses of the runtime area in order and never reuses one: the area is 16 TiB.
 * Its cursor lives in the area itself, so that the image never changes when it moves.
 */
#include "memory.h"

#include <sys/resource.h>

#include "fail.h"
#include "layout.h"
#include "sys.h"

/* First page of the runtime area. */
struct area_header {
	uintptr_t next; /* first address not handed out yet; page aligned */
	size_t used;    /* bytes mapped in the area */
};

#define AREA_HEADER ((struct area_header *)RT_AREA_BASE)

static int open_area(void)
{
	void *page = rt_sys_mmap((void *)RT_AREA_BASE, RT_PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (rt_is_error(page))
		return (int)(intptr_t)page;
	rt_syscall(SYS_madvise, page, RT_PAGE_SIZE, MADV_DONTFORK);
	AREA_HEADER->next = RT_AREA_FREE;
	return 0;
}

/* Whether the area's header page is mapped: a fork child has none of the area. */
static bool area_is_open(void)
{
	unsigned char resident;
	return rt_syscall(SYS_mincore, RT_AREA_BASE, RT_PAGE_SIZE, &resident) == 0;
}

static uintptr_t take_addresses(size_t bytes)
{
	if (!area_is_open() && open_area() < 0)
		return 0;
	uintptr_t start = AREA_HEADER->next;
	if (bytes > RT_AREA_END - start - RT_PAGE_SIZE)
		return 0;
	/* An unmapped page between blocks turns an overrun into a fault. */
	AREA_HEADER->next = start + bytes + RT_PAGE_SIZE;
	return start;
}

size_t rt_memory_used(void)
{
	return area_is_open() ? __atomic_load_n(&AREA_HEADER->used, __ATOMIC_RELAXED) : 0;
}

static void move_limit(int resource, ssize_t bytes)
{
	struct rlimit limit;
	/* One that is as high as it may be cannot follow. */
	if (rt_syscall(SYS_prlimit64, 0, resource, NULL, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
		return;
	if (bytes > 0 && limit.rlim_max - limit.rlim_cur < (rlim_t)bytes)
		limit.rlim_cur = limit.rlim_max;
	else
		limit.rlim_cur += (rlim_t)bytes;
	rt_syscall(SYS_prlimit64, 0, resource, &limit, NULL);
}

/*
 * What the program may map is not to shrink by what the runtime maps: its soft limits rise before
 * that, and fall after memory is given back.
 */
static void account(ssize_t bytes)
{
	move_limit(RLIMIT_AS, bytes);
	move_limit(RLIMIT_DATA, bytes);
	if (area_is_open())
		__atomic_add_fetch(&AREA_HEADER->used, (size_t)bytes, __ATOMIC_RELAXED);
}

bool rt_memory_is_limited(void)
{
	const int resources[] = {RLIMIT_AS, RLIMIT_DATA};
	struct rlimit limit;
	for (int i = 0; i < 2; i++)
		if (rt_syscall(SYS_prlimit64, 0, resources[i], NULL, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
			return true;
	return false;
}

static void *map_at(uintptr_t start, size_t bytes)
{
	account((ssize_t)bytes);
	void *block = rt_sys_mmap((void *)start, bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (rt_is_error(block)) {
		account(-(ssize_t)bytes);
		return NULL;
	}
	rt_syscall(SYS_madvise, block, bytes, MADV_DONTFORK);
	return block;
}

void *rt_memory_map(size_t bytes)
{
	bytes = RT_PAGE_ALIGN_UP(bytes);
	uintptr_t start = rt_fail(RT_FAIL_MEMORY_MAP) < 0 ? 0 : take_addresses(bytes);
	return start ? map_at(start, bytes) : NULL;
}

void *rt_memory_map_engine(size_t bytes)
{
	bytes = RT_PAGE_ALIGN_UP(bytes);
	return bytes <= RT_AREA_FREE - RT_ENGINE_BASE ? map_at(RT_ENGINE_BASE, bytes) : NULL;
}

void *rt_memory_grow(void *block, size_t old_bytes, size_t new_bytes)
{
	if (block == NULL)
		return rt_memory_map(new_bytes);
	old_bytes = RT_PAGE_ALIGN_UP(old_bytes);
	new_bytes = RT_PAGE_ALIGN_UP(new_bytes);
	if (new_bytes <= old_bytes)
		return block;
	uintptr_t start = rt_fail(RT_FAIL_MEMORY_GROW) < 0 ? 0 : take_addresses(new_bytes);
	if (start == 0)
		return NULL;
	account((ssize_t)(new_bytes - old_bytes));
	void *moved = (void *)rt_syscall(SYS_mremap, block, old_bytes, new_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, start);
	if (!rt_is_error(moved))
		return moved;
	account(-(ssize_t)(new_bytes - old_bytes));
	return NULL;
}

void *rt_memory_map_file(int fd, size_t bytes, off_t offset, int prot, int flags, int *error)
{
	bytes = RT_PAGE_ALIGN_UP(bytes);
	uintptr_t start = take_addresses(bytes);
	*error = start == 0 ? -12 /* ENOMEM */ : rt_fail(RT_FAIL_MEMORY_FILE);
	if (*error < 0)
		return NULL;
	if ((flags & MAP_TYPE) == 0)
		flags |= MAP_SHARED;
	account((ssize_t)bytes);
	void *block = rt_sys_mmap((void *)start, bytes, prot, flags | MAP_FIXED_NOREPLACE, fd, offset);
	if (rt_is_error(block)) {
		account(-(ssize_t)bytes);
		*error = (int)(intptr_t)block;
		return NULL;
	}
	rt_syscall(SYS_madvise, block, bytes, MADV_DONTFORK);
	return block;
}

void rt_memory_unmap(void *block, size_t bytes)
{
	if (rt_sys_munmap(block, RT_PAGE_ALIGN_UP(bytes)) == 0)
		account(-(ssize_t)RT_PAGE_ALIGN_UP(bytes));
}
