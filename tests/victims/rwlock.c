/* Read-write locks: readers see whole updates, writers exclude each other; all ways of locking. */
#include "victim.h"

#define THREADS 5
#define LOCKS 2
#define WORDS 32

struct guarded {
	pthread_rwlock_t lock;
	uint64_t words[WORDS]; /* all equal outside a write */
};

static struct guarded guarded[LOCKS];
static long rounds;

static void init_locks(void)
{
	pthread_rwlockattr_t attributes;

	pthread_rwlockattr_init(&attributes);
	CHECK_EQUAL(pthread_rwlock_init(&guarded[0].lock, &attributes), 0);
	CHECK_EQUAL(pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP), 0);
	CHECK_EQUAL(pthread_rwlock_init(&guarded[1].lock, &attributes), 0);
}

static void lock_to_read(pthread_rwlock_t *lock, uint64_t how)
{
	struct timespec deadline;
	int error;

	do {
		deadline = to_timespec(clock_ns(CLOCK_REALTIME) + 2 * MILLISECOND);
		error = how % 3 == 0   ? pthread_rwlock_tryrdlock(lock)
			: how % 3 == 1 ? pthread_rwlock_timedrdlock(lock, &deadline)
				       : pthread_rwlock_rdlock(lock);
		CHECK(error == 0 || error == EBUSY || error == ETIMEDOUT);
	} while (error);
}

static void lock_to_write(pthread_rwlock_t *lock, uint64_t how)
{
	struct timespec deadline;
	int error;

	do {
		deadline = to_timespec(clock_ns(CLOCK_REALTIME) + 2 * MILLISECOND);
		error = how % 3 == 0   ? pthread_rwlock_trywrlock(lock)
			: how % 3 == 1 ? pthread_rwlock_timedwrlock(lock, &deadline)
				       : pthread_rwlock_wrlock(lock);
		CHECK(error == 0 || error == EBUSY || error == ETIMEDOUT);
	} while (error);
}

static void read_words(struct guarded *cell)
{
	int i;

	for (i = 1; i < WORDS; i++)
		CHECK(cell->words[i] == cell->words[0]);
}

static void write_words(struct guarded *cell, uint64_t amount)
{
	int i;

	read_words(cell);
	for (i = 0; i < WORDS; i++)
		cell->words[i] += amount;
}

static void *worker(void *argument)
{
	uint64_t state = (uint64_t)(uintptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);
		struct guarded *cell = &guarded[r % LOCKS];

		if (r / 2 % 4 == 0) {
			lock_to_write(&cell->lock, r / 8);
			write_words(cell, r % 1000);
		} else {
			lock_to_read(&cell->lock, r / 8);
			read_words(cell);
		}
		CHECK_EQUAL(pthread_rwlock_unlock(&cell->lock), 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 560000);
	init_locks();
	run_threads(THREADS, worker);
	for (i = 0; i < LOCKS; i++)
		printf("rwlock %d: %llu\n", i, (unsigned long long)guarded[i].words[WORDS - 1]);
	return 0;
}
