/*
 * A program for fault tests: works until the file `finish` is there, checks itself all the time, and prints
 * one line. Unlike the victims it has no end of its own, so that a test can wait for whatever it waits for.
 *
 *   fault_worker [PLAIN|LATER]     PLAIN: leaves files alone; LATER: changes none until there is `begin`
 *
 * Each thread owns a block of memory that holds nothing but the number of the thread's round, so a restore
 * that mixes two states is seen at once; the blocks are mapped anew now and then, of changing sizes. The first thread's
 * round is also in a file that is overwritten in place, and another one is written anew and renamed into its place.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/victims/victim.h"

#define THREADS 4
#define BLOCK_PAGES 96UL
#define WORDS (PAGE / sizeof(uint64_t))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t rounds[THREADS]; /* under the mutex */
static uint64_t total;           /* their sum */
static bool with_files = true, later;

static size_t block_pages(uint64_t round)
{
	return BLOCK_PAGES + round / 64 % 16;
}

static uint64_t *map_block(uint64_t round)
{
	uint64_t *block =
		mmap(NULL, block_pages(round) * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(block != MAP_FAILED);
	return block;
}

static void fill_block(uint64_t *block, uint64_t round)
{
	for (size_t page = 0; page < block_pages(round); page++)
		for (size_t i = 0; i < WORDS; i += 37)
			block[page * WORDS + i] = round + page + i;
}

static void check_block(const uint64_t *block, uint64_t round)
{
	for (size_t page = 0; page < block_pages(round); page++)
		for (size_t i = 0; i < WORDS; i += 37)
			CHECK_EQUAL(block[page * WORDS + i], round + page + i);
}

static void check_sum(void)
{
	uint64_t sum = 0;
	for (int i = 0; i < THREADS; i++)
		sum += rounds[i];
	CHECK_EQUAL(sum, total);
}

static void check_file(const char *name, uint64_t round)
{
	uint64_t found[2] = {0, 0};
	int fd = open(name, O_RDONLY);
	CHECK(fd >= 0);
	CHECK_EQUAL(read(fd, found, sizeof(found)), sizeof(found));
	close(fd);
	CHECK_EQUAL(found[0], round);
	CHECK_EQUAL(found[1], ~round);
}

static void write_file(int fd, uint64_t round)
{
	uint64_t contents[2] = {round, ~round};
	CHECK_EQUAL(pwrite(fd, contents, sizeof(contents), 0), sizeof(contents));
}

static void replace_file(uint64_t round)
{
	int fd = open("replaced.new", O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	write_file(fd, round);
	close(fd);
	CHECK_EQUAL(rename("replaced.new", "replaced"), 0);
}

static void *work(void *argument)
{
	int number = (int)(intptr_t)argument;
	uint64_t *block = map_block(0);
	int fd = number == 0 && with_files ? open("overwritten", O_RDWR | O_CREAT, 0600) : -1;
	fill_block(block, 0);
	if (fd >= 0) {
		write_file(fd, 0);
		replace_file(0);
	}
	while (fd >= 0 && later && access("begin", F_OK) != 0)
		usleep(500);
	for (uint64_t round = 0; access("finish", F_OK) != 0; round++) {
		check_block(block, round);
		if (fd >= 0) {
			check_file("overwritten", round);
			check_file("replaced", round);
			write_file(fd, round + 1);
			replace_file(round + 1);
		}
		if (block_pages(round) != block_pages(round + 1)) {
			CHECK_EQUAL(munmap(block, block_pages(round) * PAGE), 0);
			block = map_block(round + 1);
		}
		fill_block(block, round + 1);
		pthread_mutex_lock(&mutex);
		rounds[number]++;
		total++;
		check_sum();
		pthread_mutex_unlock(&mutex);
		usleep(500);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	later = argc > 1 && strcmp(argv[1], "LATER") == 0;
	with_files = argc < 2 || strcmp(argv[1], "PLAIN") != 0;
	printf("begun\n");
	fflush(stdout);
	for (intptr_t i = 0; i < THREADS; i++)
		CHECK_EQUAL(pthread_create(&threads[i], NULL, work, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
	check_sum();
	printf("all is right\n");
	return 0;
}
