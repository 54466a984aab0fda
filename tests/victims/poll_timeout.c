/* Waits with timeouts much longer than the time between checkpoints: they expire, not early and
 * not late without bound, although every checkpoint may interrupt them. */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "victim.h"

static int idle[2]; /* a pipe nobody writes to */
static long rounds;

static void expire_poll(int64_t ns)
{
	struct pollfd ready = {idle[0], POLLIN, 0};

	CHECK_EQUAL(poll(&ready, 1, (int)(ns / MILLISECOND)), 0);
}

static void expire_poll_nothing(int64_t ns)
{
	CHECK_EQUAL(poll(NULL, 0, (int)(ns / MILLISECOND)), 0);
}

static void expire_select(int64_t ns)
{
	struct timeval timeout = {ns / SECOND, ns % SECOND / 1000};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(idle[0], &set);
	CHECK_EQUAL(select(idle[0] + 1, &set, NULL, NULL, &timeout), 0);
}

static void expire_epoll(int64_t ns)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0);

	CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, idle[0], &event), 0);
	CHECK_EQUAL(epoll_wait(epoll, &event, 1, (int)(ns / MILLISECOND)), 0);
	CHECK_EQUAL(close(epoll), 0);
}

static void expire_condition(int64_t ns)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t never = PTHREAD_COND_INITIALIZER;
	struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + ns);

	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	while (pthread_cond_timedwait(&never, &mutex, &deadline) != ETIMEDOUT)
		; /* POSIX lets it wake without a cause */
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
}

static void *worker(void *argument)
{
	static void (*const expire[])(int64_t) = {expire_poll, expire_poll_nothing, expire_select, expire_epoll,
						  expire_condition};
	int self = (int)(intptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		int64_t wanted = (600 + self * 37 + i * 11) * MILLISECOND, started = now_ns();

		expire[self](wanted);
		CHECK(now_ns() - started >= wanted);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 4);
	CHECK_EQUAL(pipe(idle), 0);
	run_threads(5, worker);
	printf("poll_timeout: %ld rounds\n", rounds);
	return 0;
}
