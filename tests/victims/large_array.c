/* 64 MiB of globals and heap, swept by two threads while checkpoints copy them: many dirty pages
 * in every epoch, and 2 MiB pages where the kernel gives them. */
#include <sys/mman.h>

#include "victim.h"

#define WORDS (4UL << 20) /* 32 MiB */

static uint64_t globals[WORDS];
static uint64_t *heap;
static uint64_t sums[2];
static long rounds;

static void *sweep(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t *words = self ? heap : globals, i;
	long round;

	for (round = 0; round < rounds; round++) {
		for (i = 0; i < WORDS; i += 8) {
			CHECK(words[i] == (round ? i * (uint64_t)round + (uint64_t)self : 0));
			words[i] = i * (uint64_t)(round + 1) + (uint64_t)self;
		}
		sums[self] += words[mix((uint64_t)round) % WORDS / 8 * 8];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 400);
	heap = aligned_alloc(2 << 20, WORDS * sizeof(*heap));
	CHECK(heap);
	madvise(heap, WORDS * sizeof(*heap), MADV_HUGEPAGE);
	memset(heap, 0, WORDS * sizeof(*heap));
	run_threads(2, sweep);
	printf("large_array: %llu %llu\n", (unsigned long long)sums[0], (unsigned long long)sums[1]);
	return 0;
}
