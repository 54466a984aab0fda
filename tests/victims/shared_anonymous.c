/* Shared anonymous memory (as for worker processes) is part of the image like any other. */
#include <sys/mman.h>

#include "memory_model.h"

#define PAGES 2048
#define THREADS 2

static unsigned char *area;
static uint32_t *versions; /* shared as well */
static uint64_t sums[THREADS];
static long rounds;

static void *map_shared(size_t bytes)
{
	void *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(start != MAP_FAILED);
	return start;
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)self;
	long i;

	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);
		size_t page = r % PAGES / THREADS * THREADS + (size_t)self;

		model_check(area + page * PAGE, versions[page]);
		versions[page] = (uint32_t)(r >> 32);
		model_write(area + page * PAGE, versions[page]);
		sums[self] = mix(sums[self] + versions[page]);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 6300000);
	area = map_shared(PAGES * PAGE);
	versions = map_shared(PAGES * sizeof(*versions));
	run_threads(THREADS, worker);
	for (i = 0; i < THREADS; i++)
		printf("shared_anonymous %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
