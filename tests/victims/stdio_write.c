/* Files that are written while checkpoints are taken: buffered, unbuffered, line-buffered, by
 * append; in the end every line is there exactly once and in order. */
#include <fcntl.h>

#include "victim.h"

#define FILES 4

static const char *const names[FILES] = {"buffered", "unbuffered", "lines", "appended"};
static long rounds;

static void format_line(char *line, size_t size, int file, long number)
{
	snprintf(line, size, "%s %ld %016llx\n", names[file], number,
		 (unsigned long long)mix((uint64_t)number * FILES + (uint64_t)file));
}

static void write_lines(int file, FILE *stream, int fd)
{
	char line[128];
	long i;

	for (i = 0; i < rounds; i++) {
		format_line(line, sizeof(line), file, i);
		if (stream)
			CHECK(fputs(line, stream) >= 0);
		else
			CHECK_EQUAL(write(fd, line, strlen(line)), strlen(line));
		if (i % 4096 == 0)
			usleep(1000);
	}
}

static void *writer(void *argument)
{
	static char buffer[FILES][8192];
	int file = (int)(intptr_t)argument, fd;
	FILE *stream = NULL;

	if (file == 3) {
		fd = open(names[file], O_WRONLY | O_CREAT | O_APPEND | O_TRUNC, 0644);
		write_lines(file, NULL, fd);
		CHECK_EQUAL(close(fd), 0);
		return NULL;
	}
	stream = fopen(names[file], "w");
	CHECK(stream);
	CHECK_EQUAL(setvbuf(stream, buffer[file], file == 1 ? _IONBF : file == 2 ? _IOLBF : _IOFBF, 8192), 0);
	write_lines(file, stream, -1);
	CHECK_EQUAL(fclose(stream), 0);
	return NULL;
}

static uint64_t check_file(int file)
{
	FILE *stream = fopen(names[file], "r");
	char line[128], expected[128];
	uint64_t sum = 0;
	long i;

	CHECK(stream);
	for (i = 0; i < rounds; i++) {
		format_line(expected, sizeof(expected), file, i);
		CHECK(fgets(line, sizeof(line), stream));
		CHECK(!strcmp(line, expected));
		sum = mix(sum + strlen(line));
	}
	CHECK(!fgets(line, sizeof(line), stream));
	CHECK_EQUAL(fclose(stream), 0);
	CHECK_EQUAL(unlink(names[file]), 0);
	return sum;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 280000);
	run_threads(FILES, writer);
	for (i = 0; i < FILES; i++)
		printf("stdio_write %s: %llu\n", names[i], (unsigned long long)check_file(i));
	return 0;
}
