/* The functions of the vDSO go on giving the time after a restore under another kernel: run-tests lets
 * respct-restore take this kernel's vDSO for another one. Threads spend nearly all their time in it,
 * also in handlers that have interrupted it. */
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "victim.h"

#define THREADS 4

static long rounds;
static volatile sig_atomic_t handled;

static int64_t to_ns(struct timespec time)
{
	return (int64_t)time.tv_sec * SECOND + time.tv_nsec;
}

/* By system call, so that the two can be compared. */
static int64_t kernel_ns(clockid_t clock)
{
	struct timespec now;

	CHECK_EQUAL(syscall(SYS_clock_gettime, clock, &now), 0);
	return to_ns(now);
}

static void check_clock(clockid_t clock, int64_t behind)
{
	int64_t before = kernel_ns(clock), now = clock_ns(clock), after = kernel_ns(clock);

	CHECK(now >= before - behind && now <= after);
}

static void check_all(void)
{
	struct timeval day;
	struct timespec resolution;
	unsigned cpu, node;
	time_t seconds;

	check_clock(CLOCK_MONOTONIC, 0);
	check_clock(CLOCK_REALTIME, 0);
	check_clock(CLOCK_BOOTTIME, 0);
	check_clock(CLOCK_MONOTONIC_COARSE, 0);
	check_clock(CLOCK_REALTIME_COARSE, 0);
	CHECK_EQUAL(gettimeofday(&day, NULL), 0);
	seconds = time(NULL);
	CHECK(seconds - day.tv_sec >= -1);
	CHECK(kernel_ns(CLOCK_REALTIME) >= (int64_t)day.tv_sec * SECOND + day.tv_usec * 1000);
	CHECK_EQUAL(clock_getres(CLOCK_MONOTONIC, &resolution), 0);
	CHECK_EQUAL(resolution.tv_nsec, 1);
	CHECK_EQUAL(getcpu(&cpu, &node), 0);
	CHECK(cpu < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
}

static void handle(int number)
{
	(void)number;
	check_clock(CLOCK_MONOTONIC, 0);
	handled++;
}

static void *work(void *argument)
{
	int64_t last = 0;
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		int64_t now = now_ns();

		CHECK(now >= last);
		last = now;
		if (i % 16 == 0)
			check_all();
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 1000}, {0, 1000}};

	CHECK(getauxval(AT_SYSINFO_EHDR) != 0);
	rounds = victim_work(argc, argv, 410000);
	CHECK_EQUAL(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQUAL(setitimer(ITIMER_REAL, &often, NULL), 0);
	run_threads(THREADS, work);
	CHECK(handled > 0);
	printf("vdso_foreign: %ld\n", rounds);
	return 0;
}
