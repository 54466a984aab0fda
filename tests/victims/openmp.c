/*
 * OpenMP: parallel regions with static and dynamic schedules, tasks, critical sections, reductions and barriers. The
 * threads of its library spin and sleep on futexes by system calls of their own.
 */
#include "victim.h"

#include <omp.h>

#define THREADS 4
#define CELLS 4096

static uint64_t cells[CELLS], next_cells[CELLS];

static void step(int round)
{
	int i;

#pragma omp parallel for schedule(static)
	for (i = 0; i < CELLS; i++)
		next_cells[i] = mix(cells[i] + cells[(i + 1) % CELLS] + (uint64_t)round);
#pragma omp parallel for schedule(dynamic, 64)
	for (i = 0; i < CELLS; i++)
		cells[i] = next_cells[i] ^ (next_cells[(i + CELLS - 1) % CELLS] >> 1);
}

static uint64_t sum_of_cells(void)
{
	uint64_t sum = 0;
	int i;

#pragma omp parallel for reduction(+ : sum)
	for (i = 0; i < CELLS; i++)
		sum += cells[i];
	return sum;
}

static long fibonacci(int n)
{
	long a, b;

	if (n < 2)
		return n;
#pragma omp task shared(a) if (n > 8)
	a = fibonacci(n - 1);
#pragma omp task shared(b) if (n > 8)
	b = fibonacci(n - 2);
#pragma omp taskwait
	return a + b;
}

static long run_tasks(int n)
{
	long result = 0;

#pragma omp parallel
#pragma omp single
	result = fibonacci(n);
	return result;
}

/* Every thread comes to every barrier, and one at a time into the critical section. */
static long meet(int rounds)
{
	long inside = 0, entered = 0;

#pragma omp parallel
	{
		int round;

		for (round = 0; round < rounds; round++) {
#pragma omp critical
			{
				CHECK_EQUAL(++inside, 1);
				entered++;
				inside--;
			}
#pragma omp barrier
			CHECK_EQUAL(entered % omp_get_num_threads(), 0);
#pragma omp barrier
		}
	}
	return entered;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 250), round;
	int i;

	omp_set_dynamic(0);
	omp_set_num_threads(THREADS);
	for (i = 0; i < CELLS; i++)
		cells[i] = (uint64_t)i;
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < 20; i++)
			step(i);
		CHECK_EQUAL(run_tasks(16), 987);
		CHECK_EQUAL(meet(5), 5 * THREADS);
		printf("%ld %016llx\n", round, (unsigned long long)sum_of_cells());
	}
	return 0;
}
