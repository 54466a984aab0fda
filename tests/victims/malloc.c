/* The allocator's whole family from several threads: every live block keeps its pattern, and
 * blocks are freed by other threads than those that allocated them. */
#include <malloc.h>

#include "victim.h"

#define THREADS 4
#define SLOTS 1024
#define SHARED_SLOTS 64

struct block {
	unsigned char *bytes;
	size_t size;
	uint64_t seed;
};

static struct block shared[SHARED_SLOTS];
static pthread_mutex_t shared_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t sums[THREADS];
static long rounds;

static size_t random_size(uint64_t *state)
{
	uint64_t r = next_random(state);

	switch (r % 64) {
	case 0: return 1 + (r >> 8) % (1 << 20);
	case 1:
	case 2:
	case 3: return 1 + (r >> 8) % 65536;
	default: return 1 + (r >> 8) % 512;
	}
}

/* The pattern is on the first and last bytes and one per page; whole for small blocks. */
static size_t pattern_step(size_t size)
{
	return size > 2048 ? 509 : 1;
}

static void fill(struct block *block)
{
	size_t i, step = pattern_step(block->size);

	for (i = 0; i < block->size; i += step)
		block->bytes[i] = (unsigned char)mix(block->seed + i);
	block->bytes[block->size - 1] = (unsigned char)block->seed;
}

static void check(const struct block *block, size_t size)
{
	size_t i, step = pattern_step(block->size);

	for (i = 0; i < size; i += step)
		if (i != block->size - 1)
			CHECK_EQUAL(block->bytes[i], (unsigned char)mix(block->seed + i));
	if (size == block->size)
		CHECK_EQUAL(block->bytes[block->size - 1], (unsigned char)block->seed);
}

static void *aligned_somehow(uint64_t how, size_t size)
{
	size_t alignment = (size_t)16 << (how / 8 % 9);
	void *block = NULL;

	switch (how % 3) {
	case 0: CHECK_EQUAL(posix_memalign(&block, alignment, size), 0); break;
	case 1: block = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment); break;
	default: block = memalign(alignment, size);
	}
	CHECK_EQUAL((uintptr_t)block % alignment, 0);
	return block;
}

static void *zeroed(size_t size)
{
	unsigned char *block = calloc(1, size);
	size_t i;

	CHECK(block);
	for (i = 0; i < size; i += pattern_step(size))
		CHECK_EQUAL(block[i], 0);
	return block;
}

static void allocate(struct block *block, uint64_t *state)
{
	uint64_t how = next_random(state);

	block->size = random_size(state);
	block->seed = next_random(state);
	switch (how % 8) {
	case 0: block->bytes = zeroed(block->size); break;
	case 1: block->bytes = aligned_somehow(how / 8, block->size); break;
	case 2: block->bytes = reallocarray(NULL, block->size, 1); break;
	default: block->bytes = malloc(block->size);
	}
	CHECK(block->bytes);
	CHECK(malloc_usable_size(block->bytes) >= block->size);
	fill(block);
}

static void resize(struct block *block, uint64_t *state)
{
	size_t size = random_size(state), kept = size < block->size ? size : block->size;
	struct block moved = {realloc(block->bytes, size), block->size, block->seed};

	CHECK(moved.bytes);
	check(&moved, kept);
	block->bytes = moved.bytes;
	block->size = size;
	fill(block);
}

static uint64_t release(struct block *block)
{
	uint64_t result = mix(block->seed + block->size);

	check(block, block->size);
	free(block->bytes);
	block->bytes = NULL;
	return result;
}

/* Gives the block away and takes another thread's in exchange: it will be freed here. Which one
 * depends on the schedule, so sums count what is put in, not what comes back. */
static void exchange(struct block *block, uint64_t slot)
{
	struct block other;

	CHECK_EQUAL(pthread_mutex_lock(&shared_mutex), 0);
	other = shared[slot % SHARED_SLOTS];
	shared[slot % SHARED_SLOTS] = *block;
	CHECK_EQUAL(pthread_mutex_unlock(&shared_mutex), 0);
	if (other.bytes)
		release(&other);
	block->bytes = NULL;
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)self * 77, sum = 0;
	struct block *slots = calloc(SLOTS, sizeof(*slots));
	long i;

	for (i = 0; i < rounds; i++) {
		struct block *block = &slots[next_random(&state) % SLOTS];
		uint64_t action = next_random(&state);

		if (!block->bytes)
			allocate(block, &state);
		else if (action % 4 == 0)
			resize(block, &state);
		else if (action % 16 == 1)
			exchange(block, action / 16);
		else
			sum += release(block);
	}
	for (i = 0; i < SLOTS; i++)
		if (slots[i].bytes)
			sum += release(&slots[i]);
	free(slots);
	sums[self] = sum;
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 400000);
	run_threads(THREADS, worker);
	for (i = 0; i < SHARED_SLOTS; i++)
		if (shared[i].bytes)
			release(&shared[i]);
	for (i = 0; i < THREADS; i++)
		printf("malloc %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
