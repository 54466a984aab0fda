/* Anonymous mappings come, go, move, grow, shrink, split, change protection and are discarded, by
 * several threads at once; a model knows what every page must hold. */
#include <sys/mman.h>

#include "memory_model.h"

#define THREADS 3
#define AREAS 12
#define LARGEST 64 /* pages of an area */

struct area {
	unsigned char *start; /* NULL: none */
	size_t pages;
	bool pieces; /* maybe several mappings to the kernel, which mremap() does not take */
	uint32_t versions[LARGEST];
	bool readable[LARGEST], writable[LARGEST];
};

static uint64_t sums[THREADS];
static long rounds;

static void set_protection(struct area *area, size_t from, size_t count, int protection)
{
	size_t i;

	CHECK_EQUAL(mprotect(area->start + from * PAGE, count * PAGE, protection), 0);
	for (i = from; i < from + count; i++) {
		area->readable[i] = protection & PROT_READ;
		area->writable[i] = protection & PROT_WRITE;
	}
}

static void map_area(struct area *area, uint64_t r)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | (r / 64 % 8 == 0 ? MAP_POPULATE : 0) |
		    (r / 512 % 4 == 0 ? MAP_NORESERVE : 0);
	size_t i;

	area->pages = 1 + r % LARGEST;
	area->pieces = false;
	area->start = mmap(NULL, area->pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(area->start != MAP_FAILED);
	for (i = 0; i < area->pages; i++) {
		area->versions[i] = 0;
		area->readable[i] = area->writable[i] = true;
	}
}

static void unmap_area(struct area *area)
{
	CHECK_EQUAL(munmap(area->start, area->pages * PAGE), 0);
	area->start = NULL;
}

/* Cuts pages off the end. */
static void cut(struct area *area, uint64_t r)
{
	size_t kept = 1 + r % area->pages;

	if (kept == area->pages)
		return;
	CHECK_EQUAL(munmap(area->start + kept * PAGE, (area->pages - kept) * PAGE), 0);
	area->pages = kept;
}

static void resize(struct area *area, uint64_t r)
{
	size_t pages = 1 + r % LARGEST, i;

	if (area->pieces)
		return;
	set_protection(area, 0, area->pages, PROT_READ | PROT_WRITE);
	area->start = mremap(area->start, area->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	CHECK(area->start != MAP_FAILED);
	for (i = area->pages; i < pages; i++) {
		area->versions[i] = 0;
		area->readable[i] = area->writable[i] = true;
	}
	area->pages = pages;
}

/* Moves it to an address of our choice, over a reservation. */
static void move(struct area *area)
{
	void *there;

	if (area->pieces)
		return;
	there = mmap(NULL, area->pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(there != MAP_FAILED);
	set_protection(area, 0, area->pages, PROT_READ | PROT_WRITE);
	area->start = mremap(area->start, area->pages * PAGE, area->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there);
	CHECK(area->start == there);
}

static void write_pages(struct area *area, uint64_t r)
{
	size_t i, from = r % area->pages;

	for (i = from; i < area->pages && i < from + 8; i++) {
		if (!area->writable[i])
			continue;
		area->versions[i] = (uint32_t)(r >> 16) + (uint32_t)i + 1;
		model_write(area->start + i * PAGE, area->versions[i]);
	}
}

static void check_area(const struct area *area)
{
	size_t i;

	for (i = 0; i < area->pages; i++)
		if (area->readable[i])
			model_check(area->start + i * PAGE, area->versions[i]);
}

/* Pages that are dropped read as zero. */
static void discard(struct area *area, uint64_t r)
{
	size_t from = r % area->pages, count = 1 + r / 64 % (area->pages - from), i;

	CHECK_EQUAL(madvise(area->start + from * PAGE, count * PAGE, MADV_DONTNEED), 0);
	for (i = from; i < from + count; i++)
		area->versions[i] = 0;
}

/* A freed page holds its old contents or zeros until it is written again: look once, then decide. */
static void offer(struct area *area, uint64_t r)
{
	size_t page = r % area->pages;

	if (!area->writable[page])
		return;
	CHECK_EQUAL(madvise(area->start + page * PAGE, PAGE, MADV_FREE), 0);
	area->versions[page] = (uint32_t)(r >> 16) | 1;
	model_write(area->start + page * PAGE, area->versions[page]);
}

static void change_protection(struct area *area, uint64_t r)
{
	static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
	size_t from = r % area->pages, count = 1 + r / 64 % (area->pages - from);

	if (r / 16384 % 2)
		from = 0, count = area->pages;
	area->pieces |= count < area->pages;
	set_protection(area, from, count, protections[r / 4096 % 4]);
}

/* New zero pages over the middle of an area, in one call. */
static void map_over(struct area *area, uint64_t r)
{
	size_t from = r % area->pages, count = 1 + r / 64 % (area->pages - from), i;
	void *there = area->start + from * PAGE;

	CHECK(mmap(there, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	      there);
	area->pieces = true;
	for (i = from; i < from + count; i++) {
		area->versions[i] = 0;
		area->readable[i] = area->writable[i] = true;
	}
}

static void one_step(struct area *area, uint64_t action, uint64_t r)
{
	if (!area->start) {
		map_area(area, r);
		return;
	}
	switch (action % 16) {
	case 0: unmap_area(area); break;
	case 1: cut(area, r); break;
	case 2: resize(area, r); break;
	case 3: move(area); break;
	case 4: discard(area, r); break;
	case 5: offer(area, r); break;
	case 6: change_protection(area, r); break;
	case 7: map_over(area, r); break;
	case 8: check_area(area); break;
	default: write_pages(area, r);
	}
}

static uint64_t sum_of(const struct area *area)
{
	uint64_t sum = area->pages;
	size_t i;

	for (i = 0; area->start && i < area->pages; i++)
		sum = mix(sum + area->versions[i]);
	return sum;
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument, a;
	struct area *areas = calloc(AREAS, sizeof(*areas));
	uint64_t state = (uint64_t)self;
	long i;

	for (i = 0; i < rounds; i++) {
		struct area *area = &areas[next_random(&state) % AREAS];
		uint64_t action = next_random(&state);

		one_step(area, action, next_random(&state));
	}
	for (a = 0; a < AREAS; a++) {
		if (areas[a].start)
			check_area(&areas[a]);
		sums[self] += sum_of(&areas[a]);
	}
	free(areas);
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 54000);
	run_threads(THREADS, worker);
	for (i = 0; i < THREADS; i++)
		printf("mappings %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
