/* Reservations of many terabytes, as databases and virtual machines make them: had like those of any program, more
 * than one at a time, with a few pages in use anywhere in them. */
#include "victim.h"

#include <sys/mman.h>

#define TERABYTE (1UL << 40)
#define COUNT 5

static const unsigned long sizes[COUNT] = {8, 3, 3, 3, 3};
static unsigned char *blocks[COUNT];

static void reserve(int i)
{
	int protection = i % 2 ? PROT_READ | PROT_WRITE : PROT_NONE;

	blocks[i] = mmap(NULL, sizes[i] * TERABYTE, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (blocks[i] == MAP_FAILED && errno == ENOMEM)
		exit(77); /* vm.overcommit_memory = 2, or a limit */
	CHECK(blocks[i] != MAP_FAILED);
}

/* The page that is used in this round, one in each terabyte and more. */
static uint64_t *page(int i, long round)
{
	unsigned char *at = blocks[i] + (unsigned long)round * 7919 % (sizes[i] * 64) * (TERABYTE / 64);

	if (i % 2 == 0)
		CHECK_EQUAL(mprotect(at, 4096, PROT_READ | PROT_WRITE), 0);
	return (uint64_t *)(void *)at;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 60), i;
	uint64_t value = 1;
	int block;

	for (block = 0; block < COUNT; block++)
		reserve(block);
	for (i = 0; i < rounds; i++) {
		for (block = 0; block < COUNT; block++) {
			uint64_t *cell = page(block, i);

			CHECK_EQUAL(*cell, 0);
			*cell = value + (uint64_t)block;
		}
		value = spin(value, 1000000);
		usleep(20000);
	}
	for (i = 0; i < rounds; i++)
		for (block = 0; block < COUNT; block++)
			value = value * 31 + *page(block, i);
	printf("reservation: %llu\n", (unsigned long long)value);
	return 0;
}
