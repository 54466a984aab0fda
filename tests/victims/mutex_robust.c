/* Robust mutexes: owners die holding them, the next one gets EOWNERDEAD exactly once per death and
 * repairs what they guard. Needs the robust list to be registered again after a restore. */
#include "victim.h"

#define MUTEXES 3

struct guarded {
	pthread_mutex_t mutex;
	uint64_t sum, twice;
	long deaths;
};

static struct guarded guarded[MUTEXES];
static long rounds;

static void init_mutexes(void)
{
	pthread_mutexattr_t attributes;
	int i;

	pthread_mutexattr_init(&attributes);
	CHECK_EQUAL(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
	for (i = 0; i < MUTEXES; i++)
		CHECK_EQUAL(pthread_mutex_init(&guarded[i].mutex, &attributes), 0);
}

/* Locks and repairs. */
static void lock(struct guarded *cell)
{
	int error = pthread_mutex_lock(&cell->mutex);

	if (error == EOWNERDEAD) {
		CHECK_EQUAL(pthread_mutex_consistent(&cell->mutex), 0);
		cell->twice = 2 * cell->sum;
		cell->deaths++;
	} else {
		CHECK_EQUAL(error, 0);
	}
	CHECK(cell->twice == 2 * cell->sum);
}

/* Dies in the middle of an update. */
static void *victim_of_death(void *argument)
{
	struct guarded *cell = argument;

	lock(cell);
	cell->sum += 3;
	cell->twice += 1;
	return NULL;
}

static void *mourner(void *argument)
{
	struct guarded *cell = &guarded[(intptr_t)argument];
	long i;

	for (i = 0; i < rounds; i++) {
		join_thread(start_thread(victim_of_death, cell));
		lock(cell);
		cell->sum += (uint64_t)i;
		cell->twice += 2 * (uint64_t)i;
		CHECK_EQUAL(pthread_mutex_unlock(&cell->mutex), 0);
		CHECK_EQUAL(cell->deaths, i + 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 11000);
	init_mutexes();
	run_threads(MUTEXES, mourner);
	for (i = 0; i < MUTEXES; i++)
		printf("robust %d: %llu after %ld deaths\n", i, (unsigned long long)guarded[i].sum, guarded[i].deaths);
	return 0;
}
