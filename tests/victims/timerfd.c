/* Timer descriptors: periodic, one-shot and absolute ones expire, never too early or too often,
 * blocking and through epoll. */
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "victim.h"

#define PERIOD (5 * MILLISECOND)

static long rounds;

static int make_timer(int64_t first, int64_t period, int flags)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct itimerspec setting = {.it_interval = to_timespec(period), .it_value = to_timespec(first)};

	CHECK(fd >= 0);
	CHECK_EQUAL(timerfd_settime(fd, flags, &setting, NULL), 0);
	return fd;
}

static uint64_t expirations(int fd)
{
	uint64_t count;

	CHECK_EQUAL(read(fd, &count, 8), 8);
	CHECK(count > 0);
	return count;
}

/* Ticks are counted by the kernel while nobody reads: there are never more than time allows. */
static void *periodic(void *argument)
{
	int64_t started = now_ns();
	int fd = make_timer(PERIOD, PERIOD, 0);
	uint64_t ticks = 0, wanted = (uint64_t)rounds * 4;

	(void)argument;
	while (ticks < wanted) {
		ticks += expirations(fd);
		CHECK(now_ns() - started >= (int64_t)ticks * PERIOD);
		if (mix(ticks) % 4 == 0)
			usleep(12000);
	}
	CHECK_EQUAL(close(fd), 0);
	return NULL;
}

static void *one_shot(void *argument)
{
	uint64_t state = 1;
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		int64_t wanted = (int64_t)(1 + next_random(&state) % 40) * MILLISECOND, started = now_ns();
		int fd = make_timer(wanted, 0, 0);

		CHECK_EQUAL(expirations(fd), 1);
		CHECK(now_ns() - started >= wanted);
		CHECK_EQUAL(close(fd), 0);
	}
	return NULL;
}

/* One descriptor for all rounds, set again each time, watched by an epoll set. */
static void *absolute(void *argument)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7};
	int epoll = epoll_create1(0), fd = make_timer(0, 0, 0);
	uint64_t state = 2;
	long i;

	(void)argument;
	CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	for (i = 0; i < rounds; i++) {
		int64_t deadline = now_ns() + (int64_t)(1 + next_random(&state) % 40) * MILLISECOND;
		struct itimerspec setting = {.it_value = to_timespec(deadline)};

		CHECK_EQUAL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, NULL), 0);
		CHECK_EQUAL(epoll_wait(epoll, &event, 1, -1), 1);
		CHECK_EQUAL(event.data.u32, 7);
		CHECK_EQUAL(expirations(fd), 1);
		CHECK(now_ns() >= deadline);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static void *(*const functions[])(void *) = {periodic, one_shot, absolute};
	pthread_t threads[3];
	int i;

	rounds = victim_work(argc, argv, 120);
	for (i = 0; i < 3; i++)
		threads[i] = start_thread(functions[i], NULL);
	for (i = 0; i < 3; i++)
		join_thread(threads[i]);
	printf("timerfd: %ld rounds\n", rounds);
	return 0;
}
