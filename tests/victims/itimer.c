/* Interval timers: SIGALRM goes on coming after a restore, and never too often. */
#include <signal.h>
#include <sys/time.h>

#include "victim.h"

#define PERIOD_US 5000

static volatile sig_atomic_t ticks;
static long rounds;

static void on_alarm(int number)
{
	(void)number;
	ticks++;
}

static void start_interval_timer(void)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval setting = {{0, PERIOD_US}, {0, PERIOD_US}};

	CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQUAL(setitimer(ITIMER_REAL, &setting, NULL), 0);
}

static void check_interval_timer(int64_t started)
{
	int64_t seen = ticks; /* read before the clock is */
	struct itimerval now;

	CHECK_EQUAL(getitimer(ITIMER_REAL, &now), 0);
	CHECK_EQUAL(now.it_interval.tv_usec, PERIOD_US);
	CHECK(seen * PERIOD_US * 1000 <= now_ns() - started);
}

int main(int argc, char **argv)
{
	int64_t started;
	uint64_t value = 1;
	long checks = 0;

	rounds = victim_work(argc, argv, 120);
	started = now_ns();
	start_interval_timer();
	while (ticks < rounds) {
		value = spin(value, 100000);
		check_interval_timer(started);
		checks++;
	}
	CHECK(checks > 0);
	printf("itimer: %ld ticks\n", rounds);
	return 0;
}
