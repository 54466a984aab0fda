/* The main thread ends by pthread_exit() early; the others go on, and the last one ends the process. */
#include "victim.h"

#define THREADS 3

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int left = THREADS;
static uint64_t sum;
static long rounds;

static void *worker(void *argument)
{
	uint64_t value = (uint64_t)(uintptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		value = spin(value, 100);
		CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
		sum += value;
		CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	}
	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	if (--left == 0)
		printf("main_thread_exit: %llu\n", (unsigned long long)sum);
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 540000);
	for (i = 0; i < THREADS; i++)
		CHECK_EQUAL(pthread_detach(start_thread(worker, (void *)(intptr_t)i)), 0);
	usleep(40000);
	pthread_exit(NULL);
}
