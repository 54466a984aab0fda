/* The sleep family: no sleep ends early or with EINTR, however often it is interrupted by
 * checkpoints or lives through a restore. */
#include "victim.h"

static long rounds;

static void check_slept(int64_t started, int64_t wanted)
{
	CHECK(now_ns() - started >= wanted);
}

static void sleep_nano(int64_t ns)
{
	struct timespec wanted = to_timespec(ns), left;

	CHECK_EQUAL(nanosleep(&wanted, &left), 0);
}

static void sleep_micro(int64_t ns)
{
	CHECK_EQUAL(usleep((useconds_t)(ns / 1000)), 0);
}

static void sleep_relative(int64_t ns)
{
	struct timespec wanted = to_timespec(ns), left;

	CHECK_EQUAL(clock_nanosleep(CLOCK_MONOTONIC, 0, &wanted, &left), 0);
}

static void sleep_absolute(int64_t ns)
{
	struct timespec deadline = to_timespec(now_ns() + ns);

	CHECK_EQUAL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL), 0);
}

static void sleep_realtime(int64_t ns)
{
	struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + ns);

	CHECK_EQUAL(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &deadline, NULL), 0);
}

/* sleep() itself counts in seconds: one thread uses it, and must get 0 back, nothing left. */
static void *sleep_seconds(void *argument)
{
	long seconds = (rounds * 20 + 999) / 1000, i;

	(void)argument;
	for (i = 0; i < seconds; i++) {
		int64_t started = now_ns();

		CHECK_EQUAL(sleep(1), 0);
		check_slept(started, SECOND);
	}
	return NULL;
}

static void *worker(void *argument)
{
	static void (*const sleeps[])(int64_t) = {sleep_nano, sleep_micro, sleep_relative, sleep_absolute,
						  sleep_realtime};
	int self = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)self;
	long i;

	for (i = 0; i < rounds; i++) {
		/* 5 to 35 ms, 20 on average; whole microseconds for usleep() */
		int64_t wanted = (5000 + (int64_t)(next_random(&state) % 30000)) * 1000;
		int64_t started = now_ns();

		sleeps[self](wanted);
		check_slept(started, wanted);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t seconds;

	rounds = victim_work(argc, argv, 140);
	seconds = start_thread(sleep_seconds, NULL);
	run_threads(5, worker);
	join_thread(seconds);
	printf("sleep: %ld rounds\n", rounds);
	return 0;
}
