/* 256 threads at once, blocked in different ways or computing, detached ones among them; all of them finish. */
#include <semaphore.h>

#include "victim.h"

#define THREADS 256
#define DETACHED 32

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t detached_done;
static long rounds, sum, current; /* under the mutex */

/* A stick goes round; in between most threads sleep. */
static void *run(void *argument)
{
	long self = (intptr_t)argument;
	char name[16];

	snprintf(name, sizeof(name), "number %ld", self);
	CHECK_EQUAL(pthread_setname_np(pthread_self(), name), 0);
	for (long i = 0; i < rounds; i++) {
		pthread_barrier_wait(&barrier);
		if (self % 8 == 0)
			spin((uint64_t)self, 2000);
		CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
		while (current != self)
			CHECK_EQUAL(pthread_cond_wait(&turn, &mutex), 0);
		sum = (long)(mix((uint64_t)sum + (uint64_t)self) & 0xffffff);
		current = (current + 1) % THREADS;
		CHECK_EQUAL(pthread_cond_broadcast(&turn), 0);
		CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	}
	CHECK_EQUAL(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
	CHECK_EQUAL(atol(name + strlen("number ")), self);
	if (self < DETACHED)
		CHECK_EQUAL(sem_post(&detached_done), 0);
	return argument;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	pthread_attr_t attributes;

	rounds = victim_work(argc, argv, 6);
	CHECK_EQUAL(pthread_barrier_init(&barrier, NULL, THREADS), 0);
	CHECK_EQUAL(sem_init(&detached_done, 0, 0), 0);
	CHECK_EQUAL(pthread_attr_init(&attributes), 0);
	CHECK_EQUAL(pthread_attr_setstacksize(&attributes, 128 * 1024), 0);
	for (long i = 0; i < THREADS; i++) {
		CHECK_EQUAL(pthread_create(&threads[i], &attributes, run, (void *)i), 0);
		if (i < DETACHED)
			CHECK_EQUAL(pthread_detach(threads[i]), 0);
	}
	for (int i = DETACHED; i < THREADS; i++)
		join_thread(threads[i]);
	for (int i = 0; i < DETACHED; i++)
		CHECK_EQUAL(sem_wait(&detached_done), 0);
	printf("threads_many: %ld %ld\n", rounds, sum);
	return 0;
}
