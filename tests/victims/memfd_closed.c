/* Shared memory of which only mappings are left: a memfd that is closed, mapped twice and privately;
 * anonymous memory with a second mapping made by mremap() and with protections of its own. */
#include <sys/mman.h>

#include "victim.h"

#define PAGES 64UL

struct pair {
	uint64_t *first, *second;
	uint64_t model[PAGES];
};

static struct pair memory, anonymous;
static uint64_t *copy; /* private mapping of a memfd that nothing else leads to */
static uint64_t copy_model[PAGES];

static void write_pair(struct pair *pair, unsigned long page, uint64_t value)
{
	uint64_t *mapping = value % 2 ? pair->first : pair->second;

	mapping[page * PAGE / 8] = value;
	pair->model[page] = value;
}

static void check_pair(const struct pair *pair, unsigned long page)
{
	CHECK_EQUAL(pair->first[page * PAGE / 8], pair->model[page]);
	CHECK_EQUAL(pair->second[page * PAGE / 8], pair->model[page]);
}

static void map_memory(void)
{
	int fd = memfd_create("pair", 0);

	CHECK_EQUAL(ftruncate(fd, PAGES * PAGE), 0);
	memory.first = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memory.second = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(memory.first != MAP_FAILED && memory.second != MAP_FAILED);
	close(fd);
}

static void map_anonymous(void)
{
	anonymous.first = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(anonymous.first != MAP_FAILED);
	anonymous.second = mremap(anonymous.first, 0, PAGES * PAGE, MREMAP_MAYMOVE);
	CHECK(anonymous.second != MAP_FAILED);
}

static void map_copy(void)
{
	int fd = memfd_create("copy", 0);
	unsigned long page;

	for (page = 0; page < PAGES; page++) {
		copy_model[page] = mix(page);
		CHECK_EQUAL(pwrite(fd, &copy_model[page], 8, (off_t)(page * PAGE)), 8);
	}
	CHECK_EQUAL(ftruncate(fd, PAGES * PAGE), 0);
	copy = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(copy != MAP_FAILED);
	close(fd);
}

/* Splits the mapping and joins it again. */
static void change_protection(unsigned long page)
{
	char *at = (char *)anonymous.second + page * PAGE;

	CHECK_EQUAL(mprotect(at, PAGE, PROT_NONE), 0);
	spin(page, 100);
	CHECK_EQUAL(mprotect(at, PAGE, PROT_READ | PROT_WRITE), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 1200000), i;
	uint64_t random = 2, sum = 0;
	unsigned long page;

	map_memory();
	map_anonymous();
	map_copy();
	for (i = 0; i < rounds; i++) {
		page = next_random(&random) % PAGES;
		write_pair(&memory, page, next_random(&random));
		write_pair(&anonymous, page, next_random(&random));
		if (page % 2)
			copy[page * PAGE / 8] = copy_model[page] = next_random(&random);
		page = next_random(&random) % PAGES;
		check_pair(&memory, page);
		check_pair(&anonymous, page);
		CHECK_EQUAL(copy[page * PAGE / 8], copy_model[page]);
		if (i % 8 == 0)
			change_protection(page);
	}
	for (page = 0; page < PAGES; page++)
		sum = mix(sum + memory.model[page] + anonymous.model[page] + copy_model[page]);
	printf("memfd_closed: %llu\n", (unsigned long long)sum);
	return 0;
}
