/*
 * memory_user hold FILE: maps the file, says "mapped", and waits to be killed.
 * memory_user early FILE: maps it at once, and writes "after" to it when a file called `go` is in its directory.
 * memory_user late FILE: maps it only then.
 * The last two make `written`, and end when `end` is there: 0, if the file has "after" by then, and else 3.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void await(const char *path)
{
	while (access(path, F_OK))
		usleep(1000);
}

static char *map(const char *path)
{
	int fd = open(path, O_RDWR);
	char *memory = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	return memory == MAP_FAILED ? NULL : memory;
}

int main(int argc, char **argv)
{
	char *memory = NULL;
	int fd;

	if (argc != 3)
		return 2;
	if (strcmp(argv[1], "late") != 0 && (memory = map(argv[2])) == NULL)
		return 1;
	if (strcmp(argv[1], "hold") == 0) {
		puts("mapped");
		fflush(stdout);
		pause();
	}
	await("go");
	if (memory == NULL && (memory = map(argv[2])) == NULL)
		return 1;
	strcpy(memory, "after");
	fd = open("written", O_WRONLY | O_CREAT, 0600);
	close(fd);
	await("end");
	return strcmp(memory, "after") == 0 ? 0 : 3;
}
