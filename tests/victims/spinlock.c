/* Spinlocks: counters under them stay consistent although holders and spinners are interrupted. */
#include <sched.h>

#include "victim.h"

#define THREADS 3
#define CELLS 4

static struct {
	pthread_spinlock_t lock;
	uint64_t sum, twice;
} cells[CELLS];
static long rounds;

static void *worker(void *argument)
{
	uint64_t state = (uint64_t)(uintptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);
		int cell = (int)(r % CELLS);

		if (r / 16 % 4)
			CHECK_EQUAL(pthread_spin_lock(&cells[cell].lock), 0);
		else
			while (pthread_spin_trylock(&cells[cell].lock) == EBUSY)
				sched_yield();
		CHECK(cells[cell].twice == 2 * cells[cell].sum);
		cells[cell].sum += r % 100;
		cells[cell].twice += r % 100 * 2;
		CHECK_EQUAL(pthread_spin_unlock(&cells[cell].lock), 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 5400000);
	for (i = 0; i < CELLS; i++)
		CHECK_EQUAL(pthread_spin_init(&cells[i].lock, PTHREAD_PROCESS_PRIVATE), 0);
	run_threads(THREADS, worker);
	for (i = 0; i < CELLS; i++)
		printf("spinlock %d: %llu\n", i, (unsigned long long)cells[i].sum);
	return 0;
}
