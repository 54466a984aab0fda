/*
 * A program with a large heap, of which it writes a steady number of random pages.
 *
 *   heap STATE MIB PAGES      PAGES random pages of MIB MiB in each 64 ms, by two threads
 *
 * A thread makes one step each millisecond: it notes the time, takes its lock, writes its share
 * of pages, releases the lock and sleeps. STATE is a file with a struct heap_state. Never ends.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"

#define THREADS 2
#define PAGE 4096UL
#define STEP_NS 1000000L
#define STEPS_PER_PERIOD 64
#define LARGEST_DELAY_NS 200000000L /* what is later than that is not made up for */

static struct heap_state *state;
static unsigned char *heap;
static uint64_t heap_pages, pages_per_period;

static void *map_state(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*state)) < 0)
		return MAP_FAILED;
	void *mapped = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return mapped;
}

static void note_step(void)
{
	uint64_t step = __atomic_fetch_add(&state->steps, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&state->stamps[step % HEAP_STAMPS], heap_now_ns(), __ATOMIC_RELEASE);
}

static uint64_t next_random(uint64_t *random)
{
	*random = *random * 6364136223846793005UL + 1442695040888963407UL;
	return *random >> 24;
}

static void write_pages(uint64_t count, uint64_t *random)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t value = next_random(random);
		memcpy(heap + value % heap_pages * PAGE + value % 512 * 8, &value, sizeof(value));
	}
	__atomic_fetch_add(&state->dirtied, count, __ATOMIC_RELAXED);
}

static void sleep_until(int64_t *due)
{
	*due += STEP_NS;
	if (heap_now_ns() - *due > LARGEST_DELAY_NS)
		*due = heap_now_ns();
	struct timespec deadline = {*due / 1000000000, *due % 1000000000};
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL);
}

/* The share of step i is such that a period's steps sum up to the period's pages. */
static uint64_t share(uint64_t step)
{
	uint64_t own = pages_per_period / THREADS, in_period = step % STEPS_PER_PERIOD;
	return own * (in_period + 1) / STEPS_PER_PERIOD - own * in_period / STEPS_PER_PERIOD;
}

static void *work(void *argument)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint64_t random = (uint64_t)(uintptr_t)argument + 1;
	int64_t due = heap_now_ns();
	for (uint64_t step = 0;; step++) {
		note_step();
		pthread_mutex_lock(&lock);
		write_pages(share(step), &random);
		pthread_mutex_unlock(&lock);
		sleep_until(&due);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	if (argc != 4 || (state = map_state(argv[1])) == MAP_FAILED) {
		fprintf(stderr, "usage: heap STATE MIB PAGES\n");
		return 2;
	}
	heap_pages = strtoul(argv[2], NULL, 0) * 256;
	pages_per_period = strtoul(argv[3], NULL, 0);
	heap = heap_pages ? malloc(heap_pages * PAGE) : NULL;
	if (heap == NULL)
		return 1;
	for (uint64_t i = 0; i < heap_pages * PAGE; i += 8)
		memcpy(heap + i, &i, 8);
	__atomic_store_n(&state->ready, 1, __ATOMIC_RELEASE);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			return 1;
	pthread_join(threads[0], NULL);
	return 0;
}
