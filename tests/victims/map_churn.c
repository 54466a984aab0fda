/* Mappings come and go by the hundred thousand, up to nearly as many at a time as the kernel allows
 * (vm.max_map_count): no call fails that would not fail without us, and contents stay right. */
#include <sys/mman.h>

#include "victim.h"

#define LIMIT 65530L /* the kernel's default for vm.max_map_count */
#define SPARE 1530L  /* for the program's and the runtime's other mappings */
#define PIECES ((LIMIT - SPARE) / 2 * 2)
#define STRIDE 61 /* every so manieth piece has contents */
#define SMALL 64  /* mappings that are made and removed in the second part */

static char *area;

static uint64_t *piece(long number)
{
	return (uint64_t *)(void *)(area + (size_t)number * PAGE);
}

/* Every second page loses its rights: each page is a mapping of its own. */
static void split(long first, long last)
{
	long i;

	for (i = first; i < last; i += 2)
		CHECK_EQUAL(mprotect(piece(i + 1), PAGE, PROT_READ), 0);
}

static void join(void)
{
	CHECK_EQUAL(mprotect(area, PIECES * PAGE, PROT_READ | PROT_WRITE), 0);
}

static void write_pieces(uint64_t value)
{
	long i;

	for (i = 0; i < PIECES; i += 2 * STRIDE)
		*piece(i) = mix(value + (uint64_t)i);
}

static uint64_t check_pieces(uint64_t value)
{
	uint64_t sum = 0;
	long i;

	for (i = 0; i < PIECES; i += 2 * STRIDE) {
		CHECK_EQUAL(*piece(i), mix(value + (uint64_t)i));
		sum += *piece(i);
	}
	return sum;
}

/* Some are moved, some shrink, some are cut in two. */
static uint64_t churn(uint64_t *random)
{
	uint64_t *mappings[SMALL], sum = 0;
	int i;

	for (i = 0; i < SMALL; i++) {
		mappings[i] = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(mappings[i] != MAP_FAILED);
		mappings[i][0] = next_random(random);
		sum += mappings[i][0];
	}
	for (i = 0; i < SMALL; i += 2) {
		uint64_t kept = mappings[i][0];

		CHECK_EQUAL(munmap((char *)mappings[i] + PAGE, PAGE), 0);
		CHECK_EQUAL(munmap((char *)mappings[i] + 2 * PAGE, PAGE), 0);
		mappings[i] = mremap(mappings[i], PAGE, 5 * PAGE, MREMAP_MAYMOVE);
		CHECK(mappings[i] != MAP_FAILED);
		CHECK_EQUAL(mappings[i][0], kept);
		CHECK_EQUAL(munmap(mappings[i], 5 * PAGE), 0);
		CHECK_EQUAL(munmap(mappings[i + 1], 3 * PAGE), 0);
	}
	return sum;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 3), i, j;
	uint64_t random = 9, sum = 0;

	area = mmap(NULL, PIECES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(area != MAP_FAILED);
	for (i = 0; i < rounds; i++) {
		write_pieces((uint64_t)i);
		split(0, PIECES);
		for (j = 0; j < 30; j++)
			sum += churn(&random);
		sum = mix(sum + check_pieces((uint64_t)i));
		join();
		for (j = 0; j < 300; j++)
			sum += churn(&random);
		sum = mix(sum + check_pieces((uint64_t)i));
	}
	printf("map_churn: %llu\n", (unsigned long long)sum);
	return 0;
}
