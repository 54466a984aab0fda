/* A small file that is mapped shared: what is counted up in it through the mapping, and what is written to it
 * by calls, is what it was at the checkpoint. */
#include <fcntl.h>
#include <sys/mman.h>

#include "victim.h"

#define CELLS 8192

static uint64_t model[CELLS];

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 6000000), i;
	int fd = open("shared", O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t random = 1, sum = 0, value, *cells;

	CHECK(fd >= 0);
	CHECK_EQUAL(ftruncate(fd, CELLS * 8 - 8), 0);
	cells = mmap(NULL, CELLS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(cells != MAP_FAILED);
	for (i = 0; i < rounds; i++) {
		size_t cell = next_random(&random) % (CELLS - 1);

		CHECK_EQUAL(cells[cell], model[cell]);
		model[cell] += cell + 1;
		if (i % 8 == 0) {
			value = model[cell];
			CHECK_EQUAL(pwrite(fd, &value, 8, (off_t)cell * 8), 8);
		} else {
			cells[cell] += cell + 1;
		}
		sum = mix(sum ^ cells[cell]);
	}
	for (i = 0; i < CELLS - 1; i++)
		CHECK_EQUAL(cells[i], model[i]);
	CHECK_EQUAL(unlink("shared"), 0);
	printf("file_mapped: %016llx\n", (unsigned long long)sum);
	return 0;
}
