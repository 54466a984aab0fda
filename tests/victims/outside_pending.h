/*
 * A child connects and sends; what the program had received when it was killed it can still read,
 * then it reads as closed. For tcp_outside_pending and unix_outside_pending. A child runs
 * unprotected: its connection ends with the program's life.
 */
#ifndef OUTSIDE_PENDING_H
#define OUTSIDE_PENDING_H

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "victim.h"

#define PENDING_BYTES 60000

static unsigned char pending_byte(long round, int at)
{
	return (unsigned char)(mix((uint64_t)round << 20 | (uint64_t)at / 8) >> at % 8 * 8);
}

/* Sends what round `round` is about, closes that direction in every other one, and waits to be left. */
static void pending_serve(int fd, long round)
{
	static unsigned char bytes[PENDING_BYTES];
	int i;

	for (i = 0; i < PENDING_BYTES; i++)
		bytes[i] = pending_byte(round, i);
	if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes))
		return;
	if (round % 2)
		shutdown(fd, SHUT_WR);
	while (read(fd, bytes, 1) > 0)
		continue;
}

/*
 * Whether the round comes. When a listening socket is closed just as a handshake with it ends, Linux forgets the
 * connection without telling the client (also one of a program that is killed without respct): it would wait for ever.
 */
static bool pending_told(int fd, long *round)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};

	return poll(&polled, 1, 2000) == 1 && read(fd, round, sizeof(*round)) == sizeof(*round);
}

/* The child: connects again and again, is told the round, and ends when told, or left for long. */
static void __attribute__((noreturn)) pending_child(const struct sockaddr *address, socklen_t length)
{
	int64_t end = now_ns() + 60 * SECOND;

	while (now_ns() < end) {
		int fd = socket(address->sa_family, SOCK_STREAM, 0);
		long round;

		if (connect(fd, address, length) == 0 && pending_told(fd, &round)) {
			if (round < 0)
				_exit(0);
			pending_serve(fd, round);
			end = now_ns() + 60 * SECOND;
		} else {
			usleep(2000);
		}
		close(fd);
	}
	_exit(0);
}

/* Waits until all has been received. False: the connection ended before. */
static bool pending_arrived(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLRDHUP};
	int there = 0;

	for (;;) {
		CHECK(poll(&polled, 1, 0) >= 0);
		CHECK_EQUAL(ioctl(fd, FIONREAD, &there), 0);
		if (there == PENDING_BYTES)
			return true;
		if (polled.revents)
			return false;
		usleep(200);
	}
}

/* Reads slowly what is there, so that it is killed in the middle of it. */
static uint64_t pending_read(int fd, long round)
{
	unsigned char bytes[3000];
	uint64_t sum = 0;
	int at = 0, i;

	while (at < PENDING_BYTES) {
		ssize_t got = recv(fd, bytes, sizeof(bytes), 0);

		CHECK(got > 0);
		for (i = 0; i < got; i++)
			CHECK_EQUAL(bytes[i], pending_byte(round, at + i));
		at += (int)got;
		sum = mix(sum ^ (uint64_t)at ^ bytes[0]);
		usleep(1500);
	}
	CHECK_EQUAL(at, PENDING_BYTES);
	if (round % 2)
		CHECK_EQUAL(recv(fd, bytes, 1, 0), 0);
	return mix((uint64_t)at + (uint64_t)round);
}

/* The next connection of the child; one of a life before may be gone by the time it is accepted. */
static int pending_accept(int listener, long round)
{
	for (;;) {
		struct pollfd polled = {.fd = listener, .events = POLLIN};
		int fd;

		CHECK(poll(&polled, 1, -1) == 1);
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			CHECK_EQUAL(errno, EAGAIN);
		else if (send(fd, &round, sizeof(round), MSG_NOSIGNAL) == sizeof(round))
			return fd;
		if (fd >= 0)
			close(fd);
	}
}

/* True when the round is done: the child's connection came with all its bytes. */
static bool pending_round(int listener, const struct sockaddr *address, long round, uint64_t *sum)
{
	struct sockaddr_storage before = {0}, after = {0};
	socklen_t length = sizeof(before);
	int fd = pending_accept(listener, round);
	bool done;

	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&before, &length), 0);
	done = pending_arrived(fd);
	if (done)
		*sum += pending_read(fd, round);
	length = sizeof(after);
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&after, &length), 0);
	if (address->sa_family != AF_UNIX)
		CHECK(!memcmp(&before, &after, sizeof(after)));
	CHECK_EQUAL(close(fd), 0);
	return done;
}

/* The child is there before the listening socket: it shall not keep that open in the next life. */
static void start_pending_child(const struct sockaddr *address, socklen_t length)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0)
		pending_child(address, length);
}

static void run_pending(int listener, const struct sockaddr *address, long rounds)
{
	uint64_t sum = 0;
	long round = 0;

	while (round < rounds)
		round += pending_round(listener, address, round, &sum);
	close(pending_accept(listener, -1));
	printf("%ld rounds: %llu\n", rounds, (unsigned long long)sum);
}

#endif
