/*
 * Mappings at addresses the program wishes for, all over the address space, as the allocators of some language runtimes
 * do: wherever they come to lie, their contents are there after a restore.
 */
#include <sys/mman.h>

#include "victim.h"

#define MAPPINGS 64
#define LENGTH (16 * PAGE)
#define SPACE 0x7f0000000000UL

static uint64_t *mappings[MAPPINGS], seeds[MAPPINGS];

static void check_mapping(int i)
{
	size_t word;

	for (word = 0; word < LENGTH / 8; word += 61)
		CHECK(mappings[i][word] == mix(seeds[i] + word));
}

static void make_mapping(int i, uint64_t seed)
{
	void *wish = (void *)(mix(seed) % SPACE & ~(PAGE - 1));
	size_t word;

	mappings[i] = mmap(wish, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mappings[i] != MAP_FAILED);
	CHECK_EQUAL(mappings[i][LENGTH / 16], 0);
	seeds[i] = seed;
	for (word = 0; word < LENGTH / 8; word += 61)
		mappings[i][word] = mix(seed + word);
}

/* Whole reservations where it is least expected that anybody has something. */
static void reserve_everywhere(void)
{
	uintptr_t wish;

	for (wish = 0x100000000000; wish < SPACE; wish += 0x004000000000) {
		uint64_t *block =
			mmap((void *)wish, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		CHECK(block != MAP_FAILED);
		block[0] = wish;
	}
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 26000), round;
	uint64_t state = 7, sum = 0;
	int i;

	reserve_everywhere();
	for (i = 0; i < MAPPINGS; i++)
		make_mapping(i, next_random(&state));
	for (round = 0; round < rounds; round++) {
		i = (int)(next_random(&state) % MAPPINGS);
		check_mapping(i);
		CHECK_EQUAL(munmap(mappings[i], LENGTH), 0);
		make_mapping(i, next_random(&state));
		sum = mix(sum + seeds[i]);
	}
	for (i = 0; i < MAPPINGS; i++)
		check_mapping(i);
	printf("%016llx\n", (unsigned long long)sum);
	return 0;
}
