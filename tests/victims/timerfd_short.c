/* Timer descriptors that are set to very short times, over and over, by several threads: at each checkpoint one is likely
 * to be due at this very moment. None is lost, and none comes twice. */
#include <poll.h>
#include <sys/timerfd.h>

#include "victim.h"

#define THREADS 8
#define PATIENCE_MS 20000

static long rounds;

static void *expire(void *argument)
{
	uint64_t state = (uint64_t)(long)argument + 1, count;
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	long i;

	CHECK(fd >= 0);
	for (i = 0; i < rounds; i++) {
		int64_t wanted = 20000 + (int64_t)(next_random(&state) % 400000), started = now_ns();
		struct itimerspec setting = {.it_value = to_timespec(wanted)};
		struct pollfd entry = {fd, POLLIN, 0};

		CHECK_EQUAL(timerfd_settime(fd, 0, &setting, NULL), 0);
		CHECK_EQUAL(poll(&entry, 1, PATIENCE_MS), 1);
		CHECK_EQUAL(read(fd, &count, 8), 8);
		CHECK_EQUAL(count, 1);
		CHECK(now_ns() - started >= wanted);
		CHECK_EQUAL(poll(&entry, 1, 0), 0);
	}
	CHECK_EQUAL(close(fd), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 4000);
	run_threads(THREADS, expire);
	printf("timerfd_short: %ld\n", rounds);
	return 0;
}
