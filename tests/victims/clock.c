/* Time: the monotonic clocks never go back, in no thread and not between threads, through the
 * vdso and through the kernel alike; a restore takes time, it does not turn it back. */
#include <sys/syscall.h>
#include <sys/time.h>

#include "victim.h"

#define THREADS 3

static int64_t latest; /* atomic: the largest time any thread has seen */
static long rounds;

static int64_t kernel_ns(clockid_t clock)
{
	struct timespec now;

	CHECK_EQUAL(syscall(SYS_clock_gettime, clock, &now), 0);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

/* A time read after another thread has published one is not earlier. */
static void check_against_others(void)
{
	int64_t seen = __atomic_load_n(&latest, __ATOMIC_ACQUIRE), now = now_ns();

	CHECK(now >= seen);
	while (seen < now &&
	       !__atomic_compare_exchange_n(&latest, &seen, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
}

static void check_own(clockid_t clock, int64_t *last)
{
	int64_t by_vdso = clock_ns(clock), by_kernel;

	CHECK(by_vdso >= *last);
	by_kernel = kernel_ns(clock);
	CHECK(by_kernel >= by_vdso);
	*last = by_kernel;
}

static void *worker(void *argument)
{
	int64_t monotonic = 0, boot = 0, coarse = 0;
	struct timeval of_day;
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		check_own(CLOCK_MONOTONIC, &monotonic);
		check_own(CLOCK_BOOTTIME, &boot);
		check_own(CLOCK_MONOTONIC_COARSE, &coarse);
		check_against_others();
		CHECK_EQUAL(gettimeofday(&of_day, NULL), 0);
		CHECK(time(NULL) >= of_day.tv_sec - 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 350000);
	run_threads(THREADS, worker);
	printf("clock: %ld rounds\n", rounds);
	return 0;
}
