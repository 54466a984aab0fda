/* Files that are read while checkpoints are taken: sequentially through stdio, at offsets, with
 * seeks and pread; the position is where it was, the buffered part included. */
#include <fcntl.h>
#include <sys/stat.h>

#include "victim.h"

#define RECORDS 65536
#define THREADS 3

struct record {
	uint64_t index, value;
};

static uint64_t sums[THREADS];
static long rounds;

static void make_file(void)
{
	FILE *stream = fopen("records", "w");
	uint64_t i;

	CHECK(stream);
	for (i = 0; i < RECORDS; i++) {
		struct record record = {i, mix(i)};

		CHECK_EQUAL(fwrite(&record, sizeof(record), 1, stream), 1);
	}
	CHECK_EQUAL(fclose(stream), 0);
}

static uint64_t check_record(const struct record *record, uint64_t index)
{
	CHECK_EQUAL(record->index, index);
	CHECK(record->value == mix(index));
	return record->value;
}

/* From the start to the end, one record at a time. */
static uint64_t read_sequentially(FILE *stream)
{
	struct record record;
	uint64_t i, sum = 0;

	rewind(stream);
	for (i = 0; i < RECORDS; i++) {
		CHECK_EQUAL(fread(&record, sizeof(record), 1, stream), 1);
		sum += check_record(&record, i);
	}
	CHECK_EQUAL(fread(&record, sizeof(record), 1, stream), 0);
	CHECK(feof(stream));
	return sum;
}

static uint64_t read_with_seeks(FILE *stream, uint64_t *state)
{
	struct record record;
	uint64_t sum = 0;
	int i;

	for (i = 0; i < 4096; i++) {
		uint64_t index = next_random(state) % RECORDS;

		CHECK_EQUAL(fseek(stream, (long)(index * sizeof(record)), SEEK_SET), 0);
		CHECK_EQUAL(fread(&record, sizeof(record), 1, stream), 1);
		sum += check_record(&record, index);
		CHECK_EQUAL(ftell(stream), (index + 1) * sizeof(record));
	}
	return sum;
}

/* Without a buffer: the offset is the kernel's. */
static uint64_t read_directly(int fd, uint64_t *state)
{
	uint64_t index = next_random(state) % (RECORDS - 1024), sum = 0;
	struct record record;
	int i;

	CHECK_EQUAL(lseek(fd, (off_t)(index * sizeof(record)), SEEK_SET), index * sizeof(record));
	for (i = 0; i < 1024; i++) {
		CHECK_EQUAL(read(fd, &record, sizeof(record)), sizeof(record));
		sum += check_record(&record, index + (uint64_t)i);
		CHECK_EQUAL(pread(fd, &record, sizeof(record), 16), sizeof(record));
		check_record(&record, 1);
	}
	return sum;
}

static void *reader(void *argument)
{
	int self = (int)(intptr_t)argument;
	FILE *stream = fopen("records", "r");
	uint64_t state = (uint64_t)self;
	long i;

	CHECK(stream);
	for (i = 0; i < rounds; i++) {
		if (self == 0)
			sums[self] += read_sequentially(stream);
		else if (self == 1)
			sums[self] += read_with_seeks(stream, &state);
		else
			sums[self] += read_directly(fileno(stream), &state);
	}
	CHECK_EQUAL(fclose(stream), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 150);
	make_file();
	run_threads(THREADS, reader);
	CHECK_EQUAL(unlink("records"), 0);
	for (i = 0; i < THREADS; i++)
		printf("stdio_read %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
