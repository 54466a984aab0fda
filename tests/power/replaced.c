/*
 * Random numbers that repeat; checksums that can be left out; memory without system calls, which would take
 * most of the time.
 */
#include "replaced.h"

#include <string.h>
#include <sys/mman.h>

#include "runtime/base/memory.h"
#include "runtime/store/internal.h"
#include "states.h"

#define POOL_SIZES 64

uint64_t test_random_state = 1;
size_t test_skipped_checksum;
uint64_t test_memory_blocks;

uint64_t __real_rt_store_hash(const void *bytes, size_t length);
uint64_t __wrap_rt_store_hash(const void *bytes, size_t length);
int __wrap_rt_store_random(uint64_t *value);
void *__wrap_rt_memory_map(size_t bytes);
void *__wrap_rt_memory_grow(void *block, size_t old_bytes, size_t new_bytes);
void __wrap_rt_memory_unmap(void *block, size_t bytes);

uint64_t __wrap_rt_store_hash(const void *bytes, size_t length)
{
	return length == test_skipped_checksum ? 0 : __real_rt_store_hash(bytes, length);
}

int __wrap_rt_store_random(uint64_t *value)
{
	*value = random_next(&test_random_state);
	return 0;
}

/* Blocks that were given back, by size; the first word of each leads to the next. */
static struct {
	size_t bytes;
	void *blocks;
} pool[POOL_SIZES];

static void **blocks_of(size_t bytes)
{
	unsigned i = 0;
	while (i < POOL_SIZES && pool[i].bytes != 0 && pool[i].bytes != bytes)
		i++;
	if (i == POOL_SIZES)
		give_up("too many different sizes");
	pool[i].bytes = bytes;
	return &pool[i].blocks;
}

void *__wrap_rt_memory_map(size_t bytes)
{
	bytes = RT_PAGE_ALIGN_UP(bytes);
	void **blocks = blocks_of(bytes), *block = *blocks;
	test_memory_blocks++;
	if (block != NULL) {
		*blocks = *(void **)block;
		return memset(block, 0, bytes);
	}
	block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block == MAP_FAILED)
		give_up("out of memory");
	return block;
}

void __wrap_rt_memory_unmap(void *block, size_t bytes)
{
	void **blocks = blocks_of(RT_PAGE_ALIGN_UP(bytes));
	*(void **)block = *blocks;
	*blocks = block;
	test_memory_blocks--;
}

void *__wrap_rt_memory_grow(void *block, size_t old_bytes, size_t new_bytes)
{
	void *larger = __wrap_rt_memory_map(new_bytes);
	if (block != NULL) {
		memcpy(larger, block, old_bytes);
		__wrap_rt_memory_unmap(block, old_bytes);
	}
	return larger;
}
