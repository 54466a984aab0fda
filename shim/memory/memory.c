/* Memory: where anonymous mappings and the allocator's extents are placed; the rest of malloc's family. */
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sys.h"
#include "files/undo.h"
#include "heap.h"
#include "layout.h"
#include "memory/advice.h"
#include "memory/window.h"
#include "shim/next.h"

/* Mappings whose place is not the program's own choice and not the kernel's business. */
static bool is_placeable(const void *address, int flags)
{
	const int own_place = MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT | MAP_GROWSDOWN | MAP_HUGETLB;
	return address == NULL && (flags & MAP_ANONYMOUS) && (flags & own_place) == 0;
}

/* Some allocators ask for addresses all over the space; what lies at ours would not be in the image. */
static bool meets_ours(const void *address, size_t length)
{
	uintptr_t start = (uintptr_t)address;
	return start < RT_RESTORER_END && (start >= RT_AREA_BASE || length > RT_AREA_BASE - start);
}

static bool writes_file(int prot, int flags, size_t length)
{
	return (prot & PROT_WRITE) && (flags & MAP_SHARED) && !(flags & MAP_ANONYMOUS) && length > 0 &&
	       rt_root.engine != NULL;
}

/* What stands there now is what a restore to before brings back. */
static void *map_file(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	RT_UNDO_SECTION section = {0};
	if (offset >= 0)
		rt_undo_before(&section, &(const struct rt_undo_request){RT_UNDO_MAP, .fd = fd, .offset = offset,
									 .length = length});
	return SHIM_NEXT(mmap)(address, length, prot, flags, fd, offset);
}

SHIM_EXPORT void *mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	if (address != NULL && meets_ours(address, length)) {
		if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
			errno = flags & MAP_FIXED_NOREPLACE ? EEXIST : ENOMEM;
			return MAP_FAILED;
		}
		address = NULL; /* it was only a wish */
	}
	void *block = is_placeable(address, flags)       ? rt_window_map(RT_WINDOW_MAPS, length, prot, flags)
		      : writes_file(prot, flags, length) ? map_file(address, length, prot, flags, fd, offset)
							 : SHIM_NEXT(mmap)(address, length, prot, flags, fd, offset);
	if (flags & (MAP_LOCKED | MAP_GROWSDOWN))
		rt_advice_changed();
	return block;
}

SHIM_EXPORT void *mmap64(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	return mmap(address, length, prot, flags, fd, offset);
}

/* A mapping that moves is tracked no longer, until it is registered again. */
SHIM_EXPORT void *mremap(void *address, size_t old_length, size_t new_length, int flags, ...)
{
	void *wanted = NULL;
	if (flags & MREMAP_FIXED) {
		va_list list;
		va_start(list, flags);
		wanted = va_arg(list, void *);
		va_end(list);
	}
	uint64_t mask = rt_block_stops();
	void *block = SHIM_NEXT(mremap)(address, old_length, new_length, flags, wanted);
	if (block != MAP_FAILED && block != address)
		rt_moved_mapping(block, new_length);
	rt_unblock_stops(mask);
	return block;
}

void *shim_heap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset)
{
	if (is_placeable(address, flags))
		return rt_window_map(RT_WINDOW_HEAP, length, prot, flags);
	void *block = rt_sys_mmap(address, length, prot, flags, fd, offset);
	if (!rt_is_error(block))
		return block;
	errno = -(int)(intptr_t)block;
	return MAP_FAILED;
}

int shim_heap_clock(clockid_t clock, struct timespec *now)
{
	long result = rt_syscall(SYS_clock_gettime, clock, now);
	if (result == 0)
		return 0;
	errno = -(int)result;
	return -1;
}

int shim_heap_condition(pthread_cond_t *condition, const pthread_condattr_t *attributes)
{
	static const pthread_cond_t initial = PTHREAD_COND_INITIALIZER;
	(void)attributes;
	memcpy(condition, &initial, sizeof(initial));
	return 0;
}

/* Members of the family that the allocator lacks: libc's own would use libc's heap. */
SHIM_EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(block, bytes);
}

SHIM_EXPORT void *pvalloc(size_t size)
{
	if (size > SIZE_MAX - RT_PAGE_SIZE) {
		errno = ENOMEM;
		return NULL;
	}
	return valloc(size ? RT_PAGE_ALIGN_UP(size) : RT_PAGE_SIZE);
}
