/* Pipes between threads: sequenced data through blocking reads and writes of odd sizes; what was
 * unread at a checkpoint is there after the restore, no byte lost or doubled. */
#include "victim.h"

#define PIPES 3
#define CHUNK 7000 /* larger than PIPE_BUF, so writes are split and block half way */

static int ends[PIPES][2];
static uint64_t sums[PIPES];
static long rounds;

static unsigned char byte_at(int pipe_number, uint64_t position)
{
	return (unsigned char)(mix(position / 8 + (uint64_t)pipe_number * 1000003) >> position % 8 * 8);
}

static void write_all(int fd, const unsigned char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t done = write(fd, bytes, length);

		CHECK(done > 0);
		bytes += done;
		length -= (size_t)done;
	}
}

static void *writer(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)self, position = 0;
	unsigned char chunk[CHUNK];
	long i;

	for (i = 0; i < rounds; i++) {
		size_t length = 1 + next_random(&state) % CHUNK, j;

		for (j = 0; j < length; j++)
			chunk[j] = byte_at(self, position++);
		write_all(ends[self][1], chunk, length);
		if (i % 1024 == 0)
			usleep(2000); /* so that the reader comes to block */
	}
	CHECK_EQUAL(close(ends[self][1]), 0);
	return NULL;
}

static void *reader(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)self + 99, position = 0, sum = 0;
	unsigned char chunk[CHUNK];
	ssize_t got, j;

	while ((got = read(ends[self][0], chunk, 1 + next_random(&state) % CHUNK)) > 0) {
		for (j = 0; j < got; j++, position++) {
			CHECK_EQUAL(chunk[j], byte_at(self, position));
			sum += chunk[j] * (position | 1);
		}
	}
	CHECK_EQUAL(got, 0);
	sums[self] = mix(sum + position);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t readers[PIPES], writers[PIPES];
	int i;

	rounds = victim_work(argc, argv, 18000);
	for (i = 0; i < PIPES; i++) {
		CHECK_EQUAL(pipe(ends[i]), 0);
		readers[i] = start_thread(reader, (void *)(intptr_t)i);
		writers[i] = start_thread(writer, (void *)(intptr_t)i);
	}
	for (i = 0; i < PIPES; i++) {
		join_thread(writers[i]);
		join_thread(readers[i]);
		printf("pipe %d: %llu\n", i, (unsigned long long)sums[i]);
	}
	return 0;
}
