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

/* The child: sends it all, closes that direction in every other round, and waits to be left. */
static void __attribute__((noreturn))
pending_child(const struct sockaddr *address, socklen_t length, long round)
{
	static unsigned char bytes[PENDING_BYTES];
	int fd = socket(address->sa_family, SOCK_STREAM, 0), i;
	char byte;

	for (i = 0; i < PENDING_BYTES; i++)
		bytes[i] = pending_byte(round, i);
	if (connect(fd, address, length) || send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes))
		_exit(1);
	if (round % 2)
		shutdown(fd, SHUT_WR);
	while (read(fd, &byte, 1) > 0)
		continue;
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

/* True when the round is done: the child's connection came with all its bytes. */
static bool pending_round(int listener, const struct sockaddr *address, socklen_t length, long round,
			  uint64_t *sum)
{
	struct pollfd polled = {.fd = listener, .events = POLLIN};
	struct sockaddr_storage name, before = {0}, after = {0};
	socklen_t name_length = sizeof(name);
	pid_t child = fork();
	bool done;
	int fd;

	if (child == 0)
		pending_child(address, length, round);
	CHECK(child > 0);
	/* A child of a life before does not come any more. */
	while (poll(&polled, 1, 20) == 0)
		if (waitpid(child, NULL, WNOHANG) != 0)
			return false;
	fd = accept(listener, NULL, NULL);
	if (fd < 0) { /* what poll() saw came in a life before */
		CHECK_EQUAL(errno, EAGAIN);
		return false;
	}
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&before, &name_length), 0);
	done = pending_arrived(fd);
	if (done)
		*sum += pending_read(fd, round);
	name_length = sizeof(after);
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&after, &name_length), 0);
	if (address->sa_family != AF_UNIX)
		CHECK(!memcmp(&before, &after, sizeof(after)));
	CHECK_EQUAL(close(fd), 0);
	waitpid(child, NULL, 0);
	return done;
}

static void run_pending(int listener, const struct sockaddr *address, socklen_t length, long rounds)
{
	uint64_t sum = 0;
	long round = 0;

	while (round < rounds)
		round += pending_round(listener, address, length, round, &sum);
	printf("%ld rounds: %llu\n", rounds, (unsigned long long)sum);
}

#endif
