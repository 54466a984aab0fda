/* Thousands of short threads: created, joined, detached, with results, attributes and stacks of
 * their own; each does a little work, some while a checkpoint captures it half way in or out. */
#include <semaphore.h>
#include <sys/mman.h>

#include "victim.h"

#define SPAWNERS 3

static uint64_t sums[SPAWNERS];
static uint64_t detached_sum; /* atomic */
static sem_t detached_done;
static long rounds;

static void *small_work(void *argument)
{
	uint64_t *cell = malloc(64 * sizeof(*cell));
	int i;

	CHECK(cell);
	for (i = 0; i < 64; i++)
		cell[i] = mix((uint64_t)(uintptr_t)argument + (uint64_t)i);
	for (i = 1; i < 64; i++)
		cell[0] += cell[i];
	return cell;
}

static void *detached_work(void *argument)
{
	uint64_t *cell = small_work(argument);

	__atomic_add_fetch(&detached_sum, *cell, __ATOMIC_RELAXED);
	free(cell);
	CHECK_EQUAL(sem_post(&detached_done), 0);
	return NULL;
}

static uint64_t take_result(uint64_t *cell)
{
	uint64_t value = *cell;

	free(cell);
	return value;
}

static void start_detached(uint64_t seed)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	CHECK_EQUAL(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED), 0);
	CHECK_EQUAL(pthread_attr_setstacksize(&attributes, 65536), 0);
	CHECK_EQUAL(pthread_create(&thread, &attributes, detached_work, (void *)(uintptr_t)seed), 0);
	CHECK_EQUAL(sem_wait(&detached_done), 0);
}

static uint64_t run_on_own_stack(uint64_t seed)
{
	size_t size = 32 * PAGE;
	void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pthread_attr_t attributes;
	pthread_t thread;
	uint64_t result;

	CHECK(stack != MAP_FAILED);
	pthread_attr_init(&attributes);
	CHECK_EQUAL(pthread_attr_setstack(&attributes, stack, size), 0);
	CHECK_EQUAL(pthread_create(&thread, &attributes, small_work, (void *)(uintptr_t)seed), 0);
	result = take_result(join_thread(thread));
	CHECK_EQUAL(munmap(stack, size), 0);
	return result;
}

static uint64_t run_a_few(uint64_t seed)
{
	pthread_t threads[4];
	uint64_t sum = 0;
	int i;

	for (i = 0; i < 4; i++)
		threads[i] = start_thread(small_work, (void *)(uintptr_t)(seed + (uint64_t)i));
	for (i = 3; i >= 0; i--)
		sum += take_result(join_thread(threads[i]));
	return sum;
}

static void *spawner(void *argument)
{
	int self = (int)(intptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		uint64_t seed = mix((uint64_t)(i * SPAWNERS + self)) >> 1;

		sums[self] += run_a_few(seed);
		if (i % 4 == 0)
			sums[self] += run_on_own_stack(seed);
		if (i % 4 == 2)
			start_detached(seed);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 1000);
	CHECK_EQUAL(sem_init(&detached_done, 0, 0), 0);
	run_threads(SPAWNERS, spawner);
	for (i = 0; i < SPAWNERS; i++)
		printf("thread_churn %d: %llu\n", i, (unsigned long long)sums[i]);
	printf("thread_churn detached: %llu\n", (unsigned long long)detached_sum);
	return 0;
}
