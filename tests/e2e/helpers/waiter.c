/*
 * waiter [STATUS]: says "waiting", waits until a file called `go` is in its directory, says "done",
 * and exits with STATUS. Its few megabytes of memory hold known contents, which it checks.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CELLS 500000

static uint64_t cells[CELLS];

int main(int argc, char **argv)
{
	uint64_t round = 0, i;

	puts("waiting");
	fflush(stdout);
	for (i = 0; i < CELLS; i++)
		cells[i] = i * 0x9e3779b97f4a7c15;
	while (access("go", F_OK)) {
		cells[round % CELLS] = round % CELLS * 0x9e3779b97f4a7c15;
		round += 512;
		usleep(2000);
	}
	for (i = 0; i < CELLS; i++)
		if (cells[i] != i * 0x9e3779b97f4a7c15)
			return 99;
	puts("done");
	return argc > 1 ? atoi(argv[1]) : 0;
}
