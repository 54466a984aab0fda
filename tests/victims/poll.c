/* poll, ppoll, select, pselect and epoll with timeouts: never EINTR, never early, and they expire
 * although checkpoints interrupt them; and what arrives meanwhile wakes them. */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "victim.h"

#define KINDS 6

static int pipes[KINDS][2]; /* written to now and then */
static long rounds;
static long received[KINDS];

static int wait_poll(int fd, int64_t ns)
{
	struct pollfd ready = {fd, POLLIN, 0};
	int result = poll(&ready, 1, (int)(ns / MILLISECOND));

	CHECK_EQUAL(ready.revents, result == 1 ? POLLIN : 0);
	return result;
}

static int wait_ppoll(int fd, int64_t ns)
{
	struct pollfd ready = {fd, POLLIN, 0};
	struct timespec timeout = to_timespec(ns);
	sigset_t mask;

	sigfillset(&mask);
	return ppoll(&ready, 1, &timeout, &mask);
}

static int wait_select(int fd, int64_t ns)
{
	struct timeval timeout = {0, ns / 1000};
	fd_set set;
	int result;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	result = select(fd + 1, &set, NULL, NULL, &timeout);
	CHECK_EQUAL(FD_ISSET(fd, &set) != 0, result == 1);
	if (result == 0)
		CHECK(timeout.tv_sec == 0 && timeout.tv_usec == 0);
	return result;
}

static int wait_pselect(int fd, int64_t ns)
{
	struct timespec timeout = to_timespec(ns);
	sigset_t mask;
	fd_set set;

	sigemptyset(&mask);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	return pselect(fd + 1, &set, NULL, NULL, &timeout, &mask);
}

/* The epoll descriptor is made once per thread and lives through the restores. */
static int epoll_of(int fd)
{
	static __thread int epoll;
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0};

	if (!epoll) {
		epoll = epoll_create1(EPOLL_CLOEXEC);
		CHECK(epoll > 0);
		CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	}
	return epoll;
}

static int wait_epoll(int fd, int64_t ns)
{
	struct epoll_event event;
	int result = epoll_wait(epoll_of(fd), &event, 1, (int)(ns / MILLISECOND));

	if (result == 1)
		CHECK(event.data.u64 == 0x123456789abcdef0 && event.events == EPOLLIN);
	return result;
}

static int wait_epoll_masked(int fd, int64_t ns)
{
	struct epoll_event event;
	sigset_t mask;

	sigfillset(&mask);
	return epoll_pwait(epoll_of(fd), &event, 1, (int)(ns / MILLISECOND), &mask);
}

static void *waiter(void *argument)
{
	static int (*const waits[KINDS])(int, int64_t) = {wait_poll,    wait_ppoll, wait_select,
							  wait_pselect, wait_epoll, wait_epoll_masked};
	int self = (int)(intptr_t)argument, fd = pipes[self][0];
	uint64_t state = (uint64_t)self;

	while (received[self] < rounds) {
		int64_t wanted = (1 + (int64_t)(next_random(&state) % 20)) * MILLISECOND, started = now_ns();
		int result = waits[self](fd, wanted);
		char byte;

		CHECK(result == 0 || result == 1);
		if (result == 0) {
			CHECK(now_ns() - started >= wanted);
			continue;
		}
		CHECK_EQUAL(read(fd, &byte, 1), 1);
		CHECK_EQUAL(byte, (char)received[self]);
		received[self]++;
	}
	return NULL;
}

static void *writer(void *argument)
{
	uint64_t state = 5;
	long i;
	int kind;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		for (kind = 0; kind < KINDS; kind++) {
			char byte = (char)i;

			CHECK_EQUAL(write(pipes[kind][1], &byte, 1), 1);
		}
		usleep((useconds_t)(next_random(&state) % 30000));
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t writing;
	int i;

	rounds = victim_work(argc, argv, 170);
	for (i = 0; i < KINDS; i++)
		CHECK_EQUAL(pipe(pipes[i]), 0);
	writing = start_thread(writer, NULL);
	run_threads(KINDS, waiter);
	join_thread(writing);
	printf("poll: %ld rounds\n", rounds);
	return 0;
}
