/* A private mapping of a file that is removed: written pages are the program's, those discarded before the file's
 * again. (Later ones are not tried: after a restore there is no file they could come from.) */
#include <fcntl.h>
#include <sys/mman.h>

#include "memory_model.h"

#define PAGES 256
#define FILE_VERSION(page) ((uint32_t)mix(page) | 1)

static unsigned char *area;
static uint32_t versions[PAGES];

static void map_file(void)
{
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned char page[PAGE] = {0};
	uint64_t i;

	CHECK(fd >= 0);
	for (i = 0; i < PAGES; i++) {
		model_write(page, FILE_VERSION(i));
		CHECK_EQUAL(write(fd, page, PAGE), PAGE);
		versions[i] = FILE_VERSION(i);
	}
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(area != MAP_FAILED);
	CHECK_EQUAL(close(fd), 0);
}

/* One in four is discarded, one in four written; of the discarded ones half are read. */
static void step(uint64_t r, bool is_there)
{
	uint64_t page = r % PAGES;

	if (r / PAGES % 4 == 0 && is_there) {
		CHECK_EQUAL(madvise(area + page * PAGE, PAGE, MADV_DONTNEED), 0);
		versions[page] = FILE_VERSION(page);
		if (r / PAGES / 4 % 2)
			model_check(area + page * PAGE, versions[page]);
	} else if (r / PAGES % 4 == 1 && (is_there || page < PAGES / 4)) {
		versions[page] = (uint32_t)(r >> 32);
		model_write(area + page * PAGE, versions[page]);
	}
}

static void check_all(void)
{
	int i;

	for (i = 0; i < PAGES; i++)
		model_check(area + i * (long)PAGE, versions[i]);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 10), i, j;
	uint64_t state = 1;

	for (i = 0; i < rounds; i++) {
		map_file();
		for (j = 0; j < 20000; j++) {
			if (j == 10000)
				CHECK_EQUAL(unlink("mapped"), 0);
			step(next_random(&state), j < 10000);
			if (j % 100 == 0)
				spin(0, 100000);
		}
		check_all();
		CHECK_EQUAL(munmap(area, PAGES * PAGE), 0);
	}
	printf("file_private_gone: %llu\n", (unsigned long long)state);
	return 0;
}
