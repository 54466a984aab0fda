/* A single-threaded program without anything special: globals, heap, stack, static buffers. */
#include "victim.h"

#define CELLS 65536

static uint64_t global_cells[CELLS];

static uint64_t step(uint64_t *heap_cells, uint64_t *state)
{
	uint64_t from = next_random(state) % CELLS, to = next_random(state) % CELLS;

	heap_cells[to] += global_cells[from] ^ *state;
	global_cells[from] = mix(heap_cells[to]);
	return heap_cells[to];
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 160000000), i;
	uint64_t *heap_cells = calloc(CELLS, sizeof(*heap_cells));
	uint64_t state = 1, sum = 0;

	for (i = 0; i < rounds; i++) {
		sum += step(heap_cells, &state);
		if (i % 50000000 == 0)
			printf("single %ld: %016llx\n", i, (unsigned long long)sum);
	}
	for (i = 0; i < CELLS; i++)
		sum += mix(global_cells[i]) + mix(heap_cells[i] + 1);
	printf("single: %016llx\n", (unsigned long long)sum);
	return 0;
}
