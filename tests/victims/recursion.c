/* Stacks that grow: deep recursion on the main stack and on threads' stacks, with values in every
 * frame that are checked on the way back. */
#include <sys/resource.h>

#include "victim.h"

#define THREADS 2

static uint64_t sums[THREADS + 1];
static long rounds;

static uint64_t __attribute__((noinline)) descend(int depth, uint64_t value)
{
	volatile uint64_t frame[120]; /* about 1 KiB */
	uint64_t result;
	int at = (int)(value % 120);

	frame[at] = value;
	frame[119 - at] = value;
	result = depth > 0 ? descend(depth - 1, mix(value)) : mix(value);
	CHECK(frame[at] == value && frame[119 - at] == value);
	return result + frame[at];
}

/* 6 MiB at the deepest; the default limit is 8. */
static uint64_t go_down_and_up(uint64_t seed)
{
	uint64_t state = seed, sum = 0;
	long i;

	for (i = 0; i < rounds; i++)
		sum += descend((int)(next_random(&state) % 6000), state);
	return sum;
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;

	sums[self] = go_down_and_up((uint64_t)self);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	struct rlimit limit;
	int i;

	CHECK_EQUAL(getrlimit(RLIMIT_STACK, &limit), 0);
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < (8UL << 20))
		return 77;
	rounds = victim_work(argc, argv, 6900);
	for (i = 0; i < THREADS; i++)
		threads[i] = start_thread(worker, (void *)(intptr_t)i);
	sums[THREADS] = go_down_and_up(THREADS);
	for (i = 0; i < THREADS; i++)
		join_thread(threads[i]);
	for (i = 0; i <= THREADS; i++)
		printf("recursion %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
