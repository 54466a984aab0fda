/* Descriptors that are copies of each other share one offset and one set of flags; others on the
 * same file do not. Numbers are what POSIX says: the lowest free one. */
#include <fcntl.h>

#include "victim.h"

#define FILE_BYTES 65536

static unsigned char byte_at(uint64_t offset)
{
	return (unsigned char)mix(offset);
}

static void make_file(const char *name)
{
	FILE *stream = fopen(name, "w");
	int i;

	CHECK(stream);
	for (i = 0; i < FILE_BYTES; i++)
		CHECK(putc(byte_at((uint64_t)i), stream) != EOF);
	CHECK_EQUAL(fclose(stream), 0);
}

/* Reads one byte through `fd` and expects it to be the one at `offset`. */
static void read_one(int fd, uint64_t offset)
{
	unsigned char byte;

	CHECK_EQUAL(read(fd, &byte, 1), 1);
	CHECK_EQUAL(byte, byte_at(offset));
}

static void check_lowest_number(int expected)
{
	int fd = open("/dev/null", O_RDONLY);

	CHECK_EQUAL(fd, expected);
	CHECK_EQUAL(close(fd), 0);
}

/* O_NONBLOCK belongs to the open file, FD_CLOEXEC to the descriptor. */
static void check_flags(int fd, int copy, int number)
{
	CHECK_EQUAL(fcntl(fd, F_SETFL, number % 2 ? O_NONBLOCK : 0), 0);
	CHECK_EQUAL((fcntl(copy, F_GETFL) & O_NONBLOCK) != 0, number % 2);
	CHECK_EQUAL(fcntl(fd, F_GETFD), 0);
	CHECK_EQUAL(fcntl(copy, F_GETFD), FD_CLOEXEC);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 290000), i;
	uint64_t together = 0, apart = 0;
	int fd, copy, far, other;

	make_file("bytes");
	fd = open("bytes", O_RDONLY);
	CHECK_EQUAL(fd, 3);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	CHECK_EQUAL(copy, 4);
	far = dup2(fd, 100);
	other = open("bytes", O_RDONLY);
	CHECK_EQUAL(other, 5);
	for (i = 0; i < rounds; i++) {
		if (together + 3 > FILE_BYTES)
			together = (uint64_t)lseek(copy, 0, SEEK_SET);
		if (apart + 1 > FILE_BYTES)
			apart = (uint64_t)lseek(other, 0, SEEK_SET);
		read_one(fd, together++);
		read_one(copy, together++);
		read_one(far, together++);
		read_one(other, apart++);
		CHECK_EQUAL(lseek(fd, 0, SEEK_CUR), together);
		check_flags(fd, copy, (int)(i / 1024 % 2));
		check_lowest_number(6);
	}
	CHECK_EQUAL(unlink("bytes"), 0);
	printf("shared_offset: %llu %llu\n", (unsigned long long)together, (unsigned long long)apart);
	return 0;
}
