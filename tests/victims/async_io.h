/* What the victims of asynchronous I/O share: a file that is written and read by blocks, and a child that asks, too. */
#ifndef ASYNC_IO_H
#define ASYNC_IO_H

#include <fcntl.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "victim.h"

#define BLOCKS 64

struct transfer {
	int fd;
	int writes;
	uint64_t *block; /* of PAGE bytes */
	off_t offset;
};

/* Reads or writes a block by the interface at hand; the number of bytes, or -errno. */
typedef long transfer_block(const struct transfer *transfer);

static inline long transfer_plainly(const struct transfer *transfer)
{
	long done = transfer->writes ? pwrite(transfer->fd, transfer->block, PAGE, transfer->offset)
				     : pread(transfer->fd, transfer->block, PAGE, transfer->offset);

	return done < 0 ? -errno : done;
}

static inline void fill_block(uint64_t block[PAGE / 8], uint64_t seed)
{
	for (size_t i = 0; i < PAGE / 8; i++)
		block[i] = mix(seed + i);
}

/* The result, for the output. */
static inline uint64_t work_on_file(long rounds, transfer_block *transfer)
{
	static uint64_t block[PAGE / 8], expected[PAGE / 8], seeds[BLOCKS];
	int fd = open("blocks", O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t random = 11, result = 0;

	CHECK(fd >= 0);
	for (long i = 0; i < rounds; i++) {
		uint64_t at = i < BLOCKS ? (uint64_t)i : next_random(&random) % BLOCKS;
		struct transfer one = {.fd = fd, .block = block, .offset = (off_t)(at * PAGE)};

		if (i >= BLOCKS) {
			CHECK_EQUAL(transfer(&one), PAGE);
			fill_block(expected, seeds[at]);
			CHECK_EQUAL(memcmp(block, expected, PAGE), 0);
		}
		seeds[at] = next_random(&random);
		fill_block(block, seeds[at]);
		one.writes = 1;
		CHECK_EQUAL(transfer(&one), PAGE);
		result = mix(result + block[0]);
	}
	CHECK_EQUAL(close(fd), 0);
	return result;
}

#define YES 10 /* nothing that a failed check ends with */
#define NO 11

/* What `ask` says in a child, which is not protected: 1 for yes, 0 for no. A child that a kill has taken is made again. */
static inline int ask_in_child(int (*ask)(void))
{
	int status;

	do {
		pid_t child = fork();
		CHECK(child >= 0);
		if (child == 0)
			_exit(ask() ? YES : NO);
		CHECK_EQUAL(waitpid(child, &status, 0), child);
	} while (!WIFEXITED(status));
	CHECK(WEXITSTATUS(status) == YES || WEXITSTATUS(status) == NO);
	return WEXITSTATUS(status) == YES;
}

/* The whole victim: `ask` tells whether the interface is there, and makes ready what `transfer` needs of it. */
static inline int use_async_io(const char *name, int argc, char **argv, int (*ask)(void), transfer_block *transfer)
{
	long rounds = victim_work(argc, argv, 120000);
	transfer_block *way = ask() ? transfer : transfer_plainly;
	int first = ask_in_child(ask);
	uint64_t result = work_on_file(rounds, way);

	printf("%s: %llu, in children: %d %d\n", name, (unsigned long long)result, first, ask_in_child(ask));
	return 0;
}

#endif
