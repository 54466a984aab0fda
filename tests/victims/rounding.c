/* The x87 control word, mxcsr and long double values of each thread: every thread computes with its
 * own rounding mode, with and without calls, and finds it unchanged each time. */
#include <fenv.h>
#include <sched.h>
#include <xmmintrin.h>

#include "victim.h"

#define MODES 4

static const int modes[MODES] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static double doubles[MODES];
static long double long_doubles[MODES];
static float denormals[MODES];
static long rounds;

/* Sums whose last bits depend on the rounding mode; the values stay in registers. */
static void add_for_long(double *sum, long double *long_sum, long from)
{
	double value = *sum;
	long double long_value = *long_sum;
	long i;

	for (i = from; i < from + 20000; i++) {
		value += 1.0 / (double)(i + 3);
		long_value += 1.0L / (long double)(i + 3);
	}
	*sum = value;
	*long_sum = long_value;
}

/* Restart points with and without a lock. */
static void pass_restart_points(long round)
{
	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	if (round % 64 == 0)
		usleep(500);
	if (round % 16 == 0)
		sched_yield();
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;
	unsigned flush = self % 2 ? _MM_FLUSH_ZERO_ON : _MM_FLUSH_ZERO_OFF;
	volatile float tiny = 1e-38f;
	long i;

	CHECK_EQUAL(fesetround(modes[self]), 0);
	_MM_SET_FLUSH_ZERO_MODE(flush);
	for (i = 0; i < rounds; i++) {
		add_for_long(&doubles[self], &long_doubles[self], i * 20000);
		pass_restart_points(i);
		CHECK_EQUAL(fegetround(), modes[self]);
		CHECK_EQUAL(_MM_GET_ROUNDING_MODE(), (unsigned)modes[self] << 3);
		CHECK_EQUAL(_MM_GET_FLUSH_ZERO_MODE(), flush);
		denormals[self] += tiny * 0.01f;
	}
	CHECK_EQUAL(denormals[self] == 0, self % 2);
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 2900);
	run_threads(MODES, worker);
	for (i = 0; i < MODES; i++)
		printf("rounding %d: %a %La %a\n", i, doubles[i], long_doubles[i], (double)denormals[i]);
	return 0;
}
