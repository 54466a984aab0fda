/* Mutexes that pass priority on, which the kernel itself hands over, and process-shared ones of all kinds in
 * shared memory: exclusion holds, nobody waits for ever. */
#include <semaphore.h>
#include <sys/mman.h>

#include "victim.h"

#define THREADS 4

struct shared {
	pthread_mutex_t inheriting, robust_inheriting, plain;
	pthread_cond_t condition;
	pthread_barrier_t barrier;
	pthread_rwlock_t lock;
	sem_t semaphore;
	long counters[4]; /* each guarded by one of the above */
	long waiting;     /* under `plain` */
};

static struct shared *shared;
static long rounds;

static void make_mutex(pthread_mutex_t *mutex, int protocol, int robust)
{
	pthread_mutexattr_t attributes;

	CHECK_EQUAL(pthread_mutexattr_init(&attributes), 0);
	CHECK_EQUAL(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED), 0);
	CHECK_EQUAL(pthread_mutexattr_setprotocol(&attributes, protocol), 0);
	CHECK_EQUAL(pthread_mutexattr_setrobust(&attributes, robust), 0);
	CHECK_EQUAL(pthread_mutex_init(mutex, &attributes), 0);
}

static void make_shared(void)
{
	pthread_condattr_t condition;
	pthread_barrierattr_t barrier;
	pthread_rwlockattr_t lock;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	make_mutex(&shared->inheriting, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED);
	make_mutex(&shared->robust_inheriting, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_ROBUST);
	make_mutex(&shared->plain, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED);
	CHECK_EQUAL(pthread_condattr_init(&condition), 0);
	CHECK_EQUAL(pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED), 0);
	CHECK_EQUAL(pthread_cond_init(&shared->condition, &condition), 0);
	CHECK_EQUAL(pthread_barrierattr_init(&barrier), 0);
	CHECK_EQUAL(pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED), 0);
	CHECK_EQUAL(pthread_barrier_init(&shared->barrier, &barrier, THREADS), 0);
	CHECK_EQUAL(pthread_rwlockattr_init(&lock), 0);
	CHECK_EQUAL(pthread_rwlockattr_setpshared(&lock, PTHREAD_PROCESS_SHARED), 0);
	CHECK_EQUAL(pthread_rwlock_init(&shared->lock, &lock), 0);
	CHECK_EQUAL(sem_init(&shared->semaphore, 1, 1), 0);
}

/* Not atomic on purpose, and long enough for a stop to fall into it. */
static void count(int which)
{
	long value = shared->counters[which];

	spin((uint64_t)value, 300);
	shared->counters[which] = value + 1;
}

/* The last of all wakes the others. */
static void meet_by_condition(void)
{
	CHECK_EQUAL(pthread_mutex_lock(&shared->plain), 0);
	long turn = shared->waiting / THREADS;
	if (++shared->waiting % THREADS == 0)
		CHECK_EQUAL(pthread_cond_broadcast(&shared->condition), 0);
	while (shared->waiting / THREADS == turn)
		CHECK_EQUAL(pthread_cond_wait(&shared->condition, &shared->plain), 0);
	CHECK_EQUAL(pthread_mutex_unlock(&shared->plain), 0);
}

static void *worker(void *argument)
{
	for (long i = 0; i < rounds; i++) {
		CHECK_EQUAL(pthread_mutex_lock(&shared->inheriting), 0);
		count(0);
		CHECK_EQUAL(pthread_mutex_unlock(&shared->inheriting), 0);
		CHECK_EQUAL(pthread_mutex_lock(&shared->robust_inheriting), 0);
		count(1);
		CHECK_EQUAL(pthread_mutex_unlock(&shared->robust_inheriting), 0);
		CHECK_EQUAL(pthread_rwlock_wrlock(&shared->lock), 0);
		count(2);
		CHECK_EQUAL(pthread_rwlock_unlock(&shared->lock), 0);
		CHECK_EQUAL(sem_wait(&shared->semaphore), 0);
		count(3);
		CHECK_EQUAL(sem_post(&shared->semaphore), 0);
		if (i % 16 == 0) {
			int result = pthread_barrier_wait(&shared->barrier);
			CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
			meet_by_condition();
		}
	}
	return argument;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 16 * 3000);
	make_shared();
	run_threads(THREADS, worker);
	for (int i = 0; i < 4; i++)
		CHECK_EQUAL(shared->counters[i], THREADS * rounds);
	printf("mutex_inherit: %ld\n", rounds);
	return 0;
}
