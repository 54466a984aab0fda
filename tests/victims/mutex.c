/* Mutexes of every kind, taken with lock, trylock and timedlock: what they guard stays consistent. */
#include "victim.h"

#define KINDS 5
#define THREADS 4

/* Two numbers that only agree outside the critical section. */
struct guarded {
	pthread_mutex_t mutex;
	uint64_t sum, twice;
};

static struct guarded guarded[KINDS];
static long rounds;

static void init_mutexes(void)
{
	static const int types[KINDS] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
					 PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_MUTEX_NORMAL};
	pthread_mutexattr_t attributes;
	int i;

	for (i = 0; i < KINDS; i++) {
		pthread_mutexattr_init(&attributes);
		CHECK_EQUAL(pthread_mutexattr_settype(&attributes, types[i]), 0);
		if (i == KINDS - 1)
			CHECK_EQUAL(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
		CHECK_EQUAL(pthread_mutex_init(&guarded[i].mutex, &attributes), 0);
	}
}

static void lock_with_timeout(pthread_mutex_t *mutex)
{
	for (;;) {
		struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + 2 * MILLISECOND);
		int error = pthread_mutex_timedlock(mutex, &deadline);

		if (error == 0)
			return;
		CHECK_EQUAL(error, ETIMEDOUT);
	}
}

static void lock_somehow(pthread_mutex_t *mutex, uint64_t how)
{
	switch (how % 4) {
	case 0:
		while (pthread_mutex_trylock(mutex) == EBUSY)
			;
		break;
	case 1: lock_with_timeout(mutex); break;
	default: CHECK_EQUAL(pthread_mutex_lock(mutex), 0);
	}
}

/* What a kind promises to whoever holds it. */
static void check_kind(int kind, pthread_mutex_t *mutex)
{
	if (kind == 1) {
		CHECK_EQUAL(pthread_mutex_lock(mutex), 0);
		CHECK_EQUAL(pthread_mutex_trylock(mutex), 0);
		CHECK_EQUAL(pthread_mutex_unlock(mutex), 0);
		CHECK_EQUAL(pthread_mutex_unlock(mutex), 0);
	} else if (kind == 2) {
		CHECK_EQUAL(pthread_mutex_lock(mutex), EDEADLK);
	}
}

static void update(struct guarded *cell, uint64_t amount)
{
	CHECK(cell->twice == 2 * cell->sum);
	cell->sum += amount;
	cell->twice += 2 * amount;
}

static void *worker(void *argument)
{
	uint64_t state = (uint64_t)(uintptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		int kind = (int)(next_random(&state) % KINDS);
		struct guarded *cell = &guarded[kind];

		lock_somehow(&cell->mutex, next_random(&state));
		check_kind(kind, &cell->mutex);
		update(cell, next_random(&state) % 1000);
		CHECK_EQUAL(pthread_mutex_unlock(&cell->mutex), 0);
		if (kind == 2)
			CHECK_EQUAL(pthread_mutex_unlock(&cell->mutex) == 0, 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 1200000);
	init_mutexes();
	run_threads(THREADS, worker);
	for (i = 0; i < KINDS; i++)
		printf("mutex kind %d: %llu\n", i, (unsigned long long)guarded[i].sum);
	return 0;
}
