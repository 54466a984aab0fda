/* A huge sparse reservation, used here and there: what is not touched costs nothing and stays
 * zero; what is touched is kept. As language runtimes and databases reserve their heaps. */
#include <sys/mman.h>

#include "memory_model.h"

#define BYTES (256UL << 30)
#define USED 4000

static unsigned char *area;
static uint32_t versions[USED];

/* Spread over all of it, pairs of neighbours included. */
static unsigned char *page_of(uint64_t index)
{
	uint64_t page = mix(index / 2) % (BYTES / PAGE / 2) * 2 + index % 2;

	return area + page * PAGE;
}

static void touch(uint64_t r)
{
	uint64_t index = r % USED;
	unsigned char *page = page_of(index);

	if (r >> 20 & 1)
		model_check(page, versions[index]);
	if (r >> 21 & 1)
		model_write(page, versions[index] = (uint32_t)(r >> 32));
}

/* A look at a page that is never written; it maps the zero page, which is not worth storing. */
static void look(uint64_t r)
{
	unsigned char *page = area + r % (BYTES / PAGE) * PAGE;

	if (r >> 60 == 0)
		CHECK(*(volatile unsigned char *)(page + 100) == 0);
}

static void reserve(void)
{
	area = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		exit(77); /* a limit on address space */
	CHECK_EQUAL(mprotect(area, BYTES, PROT_READ | PROT_WRITE), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 20000000), i;
	uint64_t state = 1, sum = 0;

	reserve();
	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);

		touch(r);
		if (i % 1000 == 0)
			look(r);
	}
	for (i = 0; i < USED; i++) {
		model_check(page_of((uint64_t)i), versions[i]);
		sum = mix(sum + versions[i]);
	}
	printf("sparse: %llu\n", (unsigned long long)sum);
	return 0;
}
