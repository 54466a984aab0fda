/* The program break goes up and down and keeps its place and its pages. */
#include "memory_model.h"

#define LARGEST 2048 /* pages */

static uint32_t versions[LARGEST];
static unsigned char *base;
static size_t pages;

static void set_pages(size_t wanted)
{
	size_t i;

	CHECK(sbrk((intptr_t)wanted * (intptr_t)PAGE - (intptr_t)pages * (intptr_t)PAGE) == base + pages * PAGE);
	CHECK(sbrk(0) == base + wanted * PAGE);
	for (i = pages; i < wanted; i++)
		versions[i] = 0;
	pages = wanted;
}

static void set_pages_by_address(size_t wanted)
{
	size_t i;

	CHECK_EQUAL(brk(base + wanted * PAGE), 0);
	CHECK(sbrk(0) == base + wanted * PAGE);
	for (i = pages; i < wanted; i++)
		versions[i] = 0;
	pages = wanted;
}

static void touch(uint64_t r)
{
	size_t page = r % pages;

	model_check(base + page * PAGE, versions[page]);
	versions[page] = (uint32_t)(r >> 32);
	model_write(base + page * PAGE, versions[page]);
}

/* Nothing else may use the break meanwhile: stdio gets its buffer from elsewhere. */
int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 490000), i;
	static char buffer[BUFSIZ];
	uint64_t state = 1, sum = 0;

	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	base = sbrk(0);
	base += -(uintptr_t)base % PAGE;
	CHECK_EQUAL(brk(base), 0);
	set_pages(LARGEST / 2);
	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);

		if (r / 65536 % 256 == 0)
			set_pages(1 + r % LARGEST);
		else if (r / 65536 % 256 == 1)
			set_pages_by_address(1 + r % LARGEST);
		else
			touch(r);
	}
	for (i = 0; i < (long)pages; i++) {
		model_check(base + (size_t)i * PAGE, versions[i]);
		sum = mix(sum + versions[i]);
	}
	printf("brk: %zu pages, %llu\n", pages, (unsigned long long)sum);
	return 0;
}
