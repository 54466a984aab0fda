/* A private mapping of a file, partly written: written pages are the program's, the others the
 * file's, and a discarded page is the file's again. The file itself is never changed. */
#include <fcntl.h>
#include <sys/mman.h>

#include "memory_model.h"

#define PAGES 1024
#define FILE_VERSION(page) ((uint32_t)mix(page) | 1)

static unsigned char *area;
static uint32_t versions[PAGES];

static void make_file(int fd)
{
	unsigned char page[PAGE] = {0};
	uint64_t i;

	for (i = 0; i < PAGES; i++) {
		model_write(page, FILE_VERSION(i));
		CHECK_EQUAL(write(fd, page, PAGE), PAGE);
		versions[i] = FILE_VERSION(i);
	}
}

static void check_file(void)
{
	int fd = open("mapped", O_RDONLY);
	unsigned char page[PAGE];
	uint64_t i;

	for (i = 0; i < PAGES; i++) {
		CHECK_EQUAL(read(fd, page, PAGE), PAGE);
		model_check(page, FILE_VERSION(i));
	}
	CHECK_EQUAL(close(fd), 0);
}

static void step(uint64_t r)
{
	uint64_t page = r % PAGES;

	model_check(area + page * PAGE, versions[page]);
	if (r / PAGES % 16 == 0) {
		CHECK_EQUAL(madvise(area + page * PAGE, PAGE, MADV_DONTNEED), 0);
		versions[page] = FILE_VERSION(page);
		if (r / PAGES / 16 % 2)
			model_check(area + page * PAGE, versions[page]);
	} else if (r / PAGES % 16 < 6) {
		versions[page] = (uint32_t)(r >> 32);
		model_write(area + page * PAGE, versions[page]);
	}
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2200000), i;
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t state = 1, sum = 0;

	CHECK(fd >= 0);
	make_file(fd);
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(area != MAP_FAILED);
	CHECK_EQUAL(close(fd), 0);
	for (i = 0; i < rounds; i++)
		step(next_random(&state));
	for (i = 0; i < PAGES; i++) {
		model_check(area + i * (long)PAGE, versions[i]);
		sum = mix(sum + versions[i]);
	}
	check_file();
	CHECK_EQUAL(unlink("mapped"), 0);
	printf("file_private: %llu\n", (unsigned long long)sum);
	return 0;
}
