/* Cancellation: threads blocked in what POSIX makes a cancellation point can still be cancelled there,
 * and their clean-up handlers run; the wrappers around those calls must not get in the way. */
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "victim.h"

#define KINDS 10

static int idle[2]; /* a pipe nobody writes to */
static sem_t never, reached;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static long cleaned_up; /* atomic */

static void clean_up(void *argument)
{
	(void)argument;
	__atomic_add_fetch(&cleaned_up, 1, __ATOMIC_RELAXED);
}

static void unlock(void *argument)
{
	CHECK_EQUAL(pthread_mutex_unlock(argument), 0);
}

static void block_in_condition(void)
{
	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	pthread_cleanup_push(unlock, &mutex);
	for (;;)
		pthread_cond_wait(&condition, &mutex);
	pthread_cleanup_pop(0);
}

static void block_in_epoll(void)
{
	int epoll = epoll_create1(0);
	struct epoll_event event;

	/* Under a number of its own, so that the next one replaces the one left by the cancelled thread. */
	CHECK_EQUAL(dup2(epoll, 50), 50);
	CHECK_EQUAL(close(epoll), 0);
	epoll_wait(50, &event, 1, -1);
}

static void block_in_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(idle[0], &set);
	select(idle[0] + 1, &set, NULL, NULL, NULL);
}

static void compute_and_test(void)
{
	for (;;) {
		spin(1, 1000);
		pthread_testcancel();
	}
}

static void block(int kind)
{
	struct timespec long_time = {1000, 0};
	struct pollfd ready = {idle[0], POLLIN, 0};
	char byte;

	switch (kind) {
	case 0: (void)!read(idle[0], &byte, 1); break;
	case 1: poll(&ready, 1, -1); break;
	case 2: block_in_select(); break;
	case 3: block_in_epoll(); break;
	case 4: nanosleep(&long_time, NULL); break;
	case 5: sem_wait(&never); break;
	case 6: block_in_condition(); break;
	case 7: clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, NULL); break;
	case 8: pause(); break;
	default: compute_and_test();
	}
}

static void *worker(void *argument)
{
	pthread_cleanup_push(clean_up, NULL);
	CHECK_EQUAL(sem_post(&reached), 0);
	block((int)(intptr_t)argument);
	pthread_cleanup_pop(0);
	return NULL;
}

static void cancel_one(int kind, uint64_t r)
{
	pthread_t thread = start_thread(worker, (void *)(intptr_t)kind);

	CHECK_EQUAL(sem_wait(&reached), 0);
	if (r % 4)
		usleep((useconds_t)(r / 4 % 2000));
	CHECK_EQUAL(pthread_cancel(thread), 0);
	CHECK(join_thread(thread) == PTHREAD_CANCELED);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 3000), i;
	uint64_t state = 1;

	CHECK_EQUAL(pipe(idle), 0);
	CHECK_EQUAL(sem_init(&never, 0, 0), 0);
	CHECK_EQUAL(sem_init(&reached, 0, 0), 0);
	for (i = 0; i < rounds; i++)
		cancel_one((int)(i % KINDS), next_random(&state));
	CHECK_EQUAL(cleaned_up, rounds);
	printf("cancel: %ld\n", cleaned_up);
	return 0;
}
