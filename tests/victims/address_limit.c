/* A program that limits its own memory gets as much as it has asked for, no call fails early, and it
 * is told the limits it has set. What the runtime maps, also later, does not count. */
#include <sys/mman.h>
#include <sys/resource.h>

#include "victim.h"

#define MIB (1UL << 20)
#define ROOM (96 * MIB) /* left to the program */
#define SURE (88 * MIB) /* of it, must be there */
#define BLOCKS 88

static unsigned char *blocks[BLOCKS];

static size_t mapped_size(void)
{
	size_t pages = 0;
	FILE *status = fopen("/proc/self/statm", "re");

	CHECK(status != NULL && fscanf(status, "%zu", &pages) == 1);
	fclose(status);
	return pages * PAGE;
}

static struct rlimit limit_address_space(void)
{
	struct rlimit limit = {.rlim_cur = mapped_size() + ROOM, .rlim_max = 64 * 1024 * MIB};

	CHECK_EQUAL(setrlimit(RLIMIT_AS, &limit), 0);
	return limit;
}

static void check_limit(const struct rlimit *expected)
{
	struct rlimit limit;

	CHECK_EQUAL(getrlimit(RLIMIT_AS, &limit), 0);
	CHECK_EQUAL(limit.rlim_cur, expected->rlim_cur);
	CHECK_EQUAL(limit.rlim_max, expected->rlim_max);
	CHECK_EQUAL(prlimit(0, RLIMIT_AS, NULL, &limit), 0);
	CHECK_EQUAL(limit.rlim_cur, expected->rlim_cur);
}

static void *map_block(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* All that the limit allows can be had, and no more than that and some: the limit works. */
static void use_all(uint64_t value)
{
	int i;

	for (i = 0; i < BLOCKS; i++) {
		blocks[i] = map_block(SURE / BLOCKS);
		CHECK(blocks[i] != MAP_FAILED);
		blocks[i][value % 4096] = (unsigned char)(value + (uint64_t)i);
	}
	CHECK(map_block(1024 * MIB) == MAP_FAILED && errno == ENOMEM);
	for (i = 0; i < BLOCKS; i++) {
		CHECK_EQUAL(blocks[i][value % 4096], (unsigned char)(value + (uint64_t)i));
		CHECK_EQUAL(munmap(blocks[i], SURE / BLOCKS), 0);
	}
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2000), i;
	uint64_t random = 4;
	struct rlimit limit;

	limit = limit_address_space();
	for (i = 0; i < rounds; i++) {
		use_all(next_random(&random));
		check_limit(&limit);
	}
	printf("address_limit: %ld\n", rounds);
	return 0;
}
