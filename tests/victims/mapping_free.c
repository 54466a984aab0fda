/* MADV_FREE without a write after it: a page holds its old contents or zeros, whole, and once it
 * has read as zero it stays so; writing makes it certain again. */
#include <sys/mman.h>

#include "memory_model.h"

#define PAGES 512

static uint32_t versions[PAGES];
static bool offered[PAGES];
static unsigned char *area;

static bool is_zero(const unsigned char *page)
{
	size_t i;

	for (i = 0; i < PAGE; i += 8)
		if (*(const volatile uint64_t *)(page + i))
			return false;
	return true;
}

static void check_page(size_t page)
{
	unsigned char *start = area + page * PAGE;

	if (offered[page] && is_zero(start))
		versions[page] = 0;
	model_check(start, versions[page]);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2400000), i;
	uint64_t state = 1, sum = 0;

	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);
		size_t page = r % PAGES;

		if (r / PAGES % 4 == 0) {
			CHECK_EQUAL(madvise(area + page * PAGE, PAGE, MADV_FREE), 0);
			offered[page] = true;
		} else if (r / PAGES % 4 == 1) {
			versions[page] = (uint32_t)(r >> 32) | 1;
			offered[page] = false;
			model_write(area + page * PAGE, versions[page]);
			sum += versions[page];
		} else {
			check_page(page);
		}
	}
	printf("mapping_free: %llu\n", (unsigned long long)sum);
	return 0;
}
