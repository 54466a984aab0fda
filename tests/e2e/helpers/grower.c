/*
 * grower MEGABYTES: waits for the file `grow`, fills MEGABYTES of new memory and says "grown"; waits for
 * `shrink`, gives them back and says "shrunk"; waits for `go`, says "done". For a store that has no
 * room for all of it. What it keeps throughout is checked.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t kept[1000], counter;

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

/* Goes on changing memory meanwhile, so that there is something to capture. */
static void wait_for(const char *file)
{
	while (access(file, F_OK)) {
		kept[counter % 1000] = counter;
		counter++;
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	size_t bytes = (argc > 1 ? (size_t)atol(argv[1]) : 64) << 20, i;
	unsigned char *memory;

	wait_for("grow");
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 1;
	for (i = 0; i < bytes; i += 8)
		*(uint64_t *)(memory + i) = i * 0x9e3779b97f4a7c15;
	say("grown");
	wait_for("shrink");
	for (i = 0; i < bytes; i += 8)
		if (*(uint64_t *)(memory + i) != i * 0x9e3779b97f4a7c15)
			return 1;
	munmap(memory, bytes);
	say("shrunk");
	wait_for("go");
	for (i = 0; i < 1000 && counter > 1000; i++)
		if (kept[i] % 1000 != i || kept[i] + 1000 < counter)
			return 1;
	say("done");
	return 0;
}
