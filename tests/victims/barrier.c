/* Barriers: nobody passes before all have come, exactly one is the serial thread, round after round. */
#include "victim.h"

#define THREADS 5

static pthread_barrier_t barrier;
static uint64_t cells[2][THREADS];
static long serial_count; /* changed by the serial thread alone, between two barriers */
static uint64_t sums[THREADS];
static long rounds;

static void wait_for_all(void)
{
	int result = pthread_barrier_wait(&barrier);

	CHECK(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
	if (result)
		serial_count++;
}

/* Each reads what all wrote in the round before: a stencil that goes wrong when one runs ahead. */
static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument, i;
	long round;

	cells[0][self] = (uint64_t)self;
	wait_for_all();
	for (round = 0; round < rounds; round++) {
		uint64_t *now = cells[round % 2], *next = cells[(round + 1) % 2], sum = 0;

		for (i = 0; i < THREADS; i++)
			sum += now[i] * (uint64_t)(i + 1);
		next[self] = spin(sum + (uint64_t)self, 20);
		wait_for_all();
	}
	sums[self] = cells[rounds % 2][self];
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 34000);
	CHECK_EQUAL(pthread_barrier_init(&barrier, NULL, THREADS), 0);
	run_threads(THREADS, worker);
	CHECK_EQUAL(serial_count, rounds + 1);
	for (i = 0; i < THREADS; i++)
		printf("barrier %d: %016llx\n", i, (unsigned long long)sums[i]);
	return 0;
}
