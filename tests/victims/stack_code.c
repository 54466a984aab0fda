/* A program that is linked to have executable stacks: that of the main thread, and those of threads that live long and that
 * come and go. */
#include "stack_code.h"

#define THREADS 3
#define SHORT_ROUNDS 2000

static long rounds;

static void *live_long(void *argument)
{
	return (void *)(uintptr_t)use_stack_code((uintptr_t)argument, rounds * SHORT_ROUNDS);
}

static void *live_briefly(void *argument)
{
	return (void *)(uintptr_t)use_stack_code((uintptr_t)argument, SHORT_ROUNDS);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	uint64_t sum = 0;
	long i;

	rounds = victim_work(argc, argv, 110);
	for (i = 0; i < THREADS; i++)
		threads[i] = start_thread(live_long, (void *)i);
	for (i = 0; i < rounds; i++) {
		sum = mix(sum + (uintptr_t)join_thread(start_thread(live_briefly, (void *)i)));
		sum = mix(sum + use_stack_code((uint64_t)i, SHORT_ROUNDS));
	}
	for (i = 0; i < THREADS; i++)
		sum = mix(sum + (uintptr_t)join_thread(threads[i]));
	printf("stack_code: %016llx\n", (unsigned long long)sum);
	return 0;
}
