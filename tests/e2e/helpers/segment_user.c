/*
 * segment_user all|some [ID]: makes a System V segment with a key and, with `some`, one more that is marked to be
 * removed and so will not outlive it; says the identifier of the first. It attaches the one with ID, too. When a file
 * called `go` is in its directory, checks key, identifier and contents of its own, and removes it: exit status 0.
 * segment_user hold ID: attaches that, says "attached", and waits to be killed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/victims/segment.h"

#define SIZE 20000

static char *attach(int id)
{
	char *memory = shmat(id, NULL, 0);

	if (memory == (void *)-1)
		exit(99);
	strcpy(memory, "contents");
	return memory;
}

static int hold(int id)
{
	attach(id);
	puts("attached");
	fflush(stdout);
	return pause();
}

int main(int argc, char **argv)
{
	key_t key;
	int id, other = argc > 2 ? atoi(argv[2]) : -1;
	char *memory;

	if (argc < 2)
		return 99;
	if (strcmp(argv[1], "hold") == 0)
		return hold(other);
	id = make_segment(SIZE, &key);
	memory = attach(id);
	if (other >= 0)
		attach(other);
	if (strcmp(argv[1], "some") == 0) {
		int gone = shmget(IPC_PRIVATE, SIZE, 0600);

		attach(gone);
		shmctl(gone, IPC_RMID, NULL);
	}
	printf("%d\n", id);
	fflush(stdout);
	while (access("go", F_OK))
		usleep(1000);
	if (shmget(key, 0, 0) != id || strcmp(memory, "contents") != 0)
		return 1;
	return shmctl(id, IPC_RMID, NULL) < 0 ? 2 : 0;
}
