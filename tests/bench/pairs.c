/*
 * What one pair of calls costs: pthread_mutex_lock() and unlock(), malloc() and free().
 *
 *   pairs      prints "lock_ns X" and "malloc_ns X"
 *
 * A second thread exists and sleeps, so that libc takes no short cuts for single threads.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 20000000
#define BLOCK_BYTES 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static double now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double time_locks(void)
{
	double started = now_ns();
	for (int i = 0; i < PAIRS; i++) {
		pthread_mutex_lock(&lock);
		pthread_mutex_unlock(&lock);
	}
	return (now_ns() - started) / PAIRS;
}

static double time_blocks(void)
{
	double started = now_ns();
	for (int i = 0; i < PAIRS; i++) {
		void *volatile block = malloc(BLOCK_BYTES);
		free(block);
	}
	return (now_ns() - started) / PAIRS;
}

static void *sleep_for_ever(void *argument)
{
	for (;;)
		pause();
	return argument;
}

int main(void)
{
	pthread_t thread;
	if (pthread_create(&thread, NULL, sleep_for_ever, NULL) != 0)
		return 1;
	time_locks();
	printf("lock_ns %.2f\n", time_locks());
	time_blocks();
	printf("malloc_ns %.2f\n", time_blocks());
	return 0;
}
