/* Private mappings of /dev/zero are memory like any other, as older programs get it. */
#include <fcntl.h>
#include <sys/mman.h>

#include "memory_model.h"

#define PAGES 512

static unsigned char *area;
static uint32_t versions[PAGES];
static bool used[PAGES];

static void check(size_t page)
{
	size_t i;

	if (used[page])
		model_check(area + page * PAGE, versions[page]);
	else
		for (i = 0; i < PAGE; i += 512)
			CHECK_EQUAL(area[page * PAGE + i], 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2600000), i;
	int fd = open("/dev/zero", O_RDWR);
	uint64_t state = 1, sum = 0;

	CHECK(fd >= 0);
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(area != MAP_FAILED);
	CHECK_EQUAL(close(fd), 0);
	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);
		size_t page = r % PAGES;

		check(page);
		sum = mix(sum + versions[page]);
		if ((r >> 40) % 16 == 0) {
			CHECK_EQUAL(madvise(area + page * PAGE, PAGE, MADV_DONTNEED), 0);
			used[page] = false;
			versions[page] = 0;
			check(page);
		} else if ((r >> 40) % 16 < 8) {
			versions[page] = (uint32_t)(r >> 32);
			used[page] = true;
			model_write(area + page * PAGE, versions[page]);
		}
	}
	printf("dev_zero: %llu\n", (unsigned long long)sum);
	return 0;
}
