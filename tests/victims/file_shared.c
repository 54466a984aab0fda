/* A shared mapping of a file: its contents are the file's, which does not go back in time. So each
 * cell is written with a value that follows from its index; after a restore it is written again. */
#include <fcntl.h>
#include <sys/mman.h>

#include "victim.h"

#define CELLS (1L << 21)

static uint64_t *cells;

static void check_read(int fd, long index)
{
	uint64_t value;

	CHECK_EQUAL(pread(fd, &value, 8, index * 8), 8);
	CHECK(value == mix((uint64_t)index));
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 280), round, i;
	int fd = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t sum = 0;

	CHECK(fd >= 0);
	CHECK_EQUAL(ftruncate(fd, CELLS * 8), 0);
	cells = mmap(NULL, CELLS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(cells != MAP_FAILED);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < CELLS; i++) {
			CHECK(cells[i] == 0 || cells[i] == mix((uint64_t)i));
			cells[i] = mix((uint64_t)i);
			sum += cells[i / 2] + (uint64_t)round;
		}
		check_read(fd, (long)(mix((uint64_t)round) % CELLS));
	}
	CHECK_EQUAL(msync(cells, CELLS * 8, MS_SYNC), 0);
	CHECK_EQUAL(unlink("shared"), 0);
	printf("file_shared: %llu\n", (unsigned long long)sum);
	return 0;
}
