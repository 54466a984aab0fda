/* errno is left alone by everything that POSIX says leaves it alone: locks, frees, handlers' own
 * saving; and by restart points that interrupt in between. */
#include "victim.h"

#define THREADS 4

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static long counter;
static long rounds;

static void timed_wait(void)
{
	struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + 100000);
	int error;

	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	error = pthread_cond_timedwait(&condition, &mutex, &deadline);
	CHECK(error == 0 || error == ETIMEDOUT);
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
}

static void pass_restart_points(long round)
{
	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	counter++;
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	CHECK_EQUAL(pthread_rwlock_rdlock(&rwlock), 0);
	CHECK_EQUAL(pthread_rwlock_unlock(&rwlock), 0);
	spin(1, 50);
	if (round % 256 == 0)
		timed_wait();
	if (round % 256 == 128)
		CHECK_EQUAL(usleep(100), 0);
}

static void *worker(void *argument)
{
	uint64_t state = (uint64_t)(uintptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		int value = 1 + (int)(next_random(&state) % 130);
		void *block = malloc(value * 10UL);

		errno = value;
		pass_restart_points(i);
		CHECK_EQUAL(errno, value);
		free(block);
		CHECK_EQUAL(errno, value);
		CHECK_EQUAL(close(-1), -1);
		CHECK_EQUAL(errno, EBADF);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 360000);
	run_threads(THREADS, worker);
	CHECK_EQUAL(counter, rounds * THREADS);
	printf("errno: %ld\n", counter);
	return 0;
}
