/* A memfd, its descriptor and all its mappings are one object: what is written through one shows in
 * the others, in private mappings too until they have a page of their own. Size, seals and name stay. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "victim.h"

#define PAGES 800UL /* of the memfd: more than a descriptor's record would carry */
#define TAIL 20UL   /* of them at the end that are not mapped */
#define VIEW 100UL  /* first page of the mapping that begins later */
#define OWN 4       /* every so manieth page of the private mapping is its own */

static uint64_t *writer, *reader, *view, *private;
static uint64_t model[PAGES], own[PAGES];
static int fd;

static uint64_t *word(uint64_t *mapping, unsigned long page)
{
	return mapping + page * PAGE / 8 + page % 512;
}

static uint64_t read_file(unsigned long page)
{
	uint64_t value;

	CHECK_EQUAL(pread(fd, &value, 8, (off_t)(page * PAGE + page % 512 * 8)), 8);
	return value;
}

static void write_file(unsigned long page, uint64_t value)
{
	CHECK_EQUAL(pwrite(fd, &value, 8, (off_t)(page * PAGE + page % 512 * 8)), 8);
}

static void check_page(unsigned long page)
{
	CHECK_EQUAL(read_file(page), model[page]);
	if (page >= PAGES - TAIL)
		return;
	CHECK_EQUAL(*word(writer, page), model[page]);
	CHECK_EQUAL(*word(reader, page), model[page]);
	CHECK_EQUAL(*word(private, page), own[page] ? own[page] : model[page]);
	if (page >= VIEW)
		CHECK_EQUAL(view[(page - VIEW) * PAGE / 8 + page % 512], model[page]);
}

static void write_page(unsigned long page, uint64_t value)
{
	if (page >= PAGES - TAIL || value % 3 == 0)
		write_file(page, value);
	else if (value % 3 == 1 || page < VIEW)
		*word(writer, page) = value;
	else
		view[(page - VIEW) * PAGE / 8 + page % 512] = value;
	model[page] = value;
	if (page < PAGES - TAIL && page % OWN == 0)
		*word(private, page) = own[page] = mix(value);
}

static void check_object(void)
{
	struct stat status;
	char link[64], path[32];
	ssize_t length;

	CHECK_EQUAL(fstat(fd, &status), 0);
	CHECK_EQUAL(status.st_size, PAGES * PAGE + 100);
	CHECK_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, link, sizeof(link));
	CHECK(length > 0 && strncmp(link, "/memfd:scratch", 14) == 0);
	CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), 77);
	CHECK(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
}

static void *map(unsigned long first, int prot, int flags)
{
	void *mapping = mmap(NULL, (PAGES - TAIL - first) * PAGE, prot, flags, fd, (off_t)(first * PAGE));

	CHECK(mapping != MAP_FAILED);
	return mapping;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2000000), i;
	uint64_t random = 1, sum = 0;
	unsigned long page;

	fd = memfd_create("scratch", MFD_ALLOW_SEALING);
	CHECK(fd >= 0);
	CHECK_EQUAL(ftruncate(fd, PAGES * PAGE + 100), 0);
	CHECK_EQUAL(lseek(fd, 77, SEEK_SET), 77);
	writer = map(0, PROT_READ | PROT_WRITE, MAP_SHARED);
	reader = map(0, PROT_READ, MAP_SHARED);
	view = map(VIEW, PROT_READ | PROT_WRITE, MAP_SHARED);
	private = map(0, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	CHECK_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
	for (page = 0; page < PAGES; page++)
		write_page(page, next_random(&random));
	CHECK_EQUAL(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	for (i = 0; i < rounds; i++) {
		page = next_random(&random) % (PAGES - TAIL);
		/* The file itself is sealed: only mappings write. */
		write_page(page, next_random(&random) / 3 * 3 + 1 + random % 2);
		check_page(next_random(&random) % PAGES);
		if (i % 512 == 0)
			check_object();
	}
	for (page = 0; page < PAGES; page++) {
		check_page(page);
		sum = mix(sum + model[page] + own[page]);
	}
	printf("memfd_shared: %llu\n", (unsigned long long)sum);
	return 0;
}
