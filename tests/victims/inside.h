/*
 * Connections within one process, for tcp_inside and unix_stream_inside: numbered bytes in both
 * directions between threads, names that stay what they are, and streams that nobody reads until
 * the end, one of them closed for writing.
 */
#ifndef INSIDE_H
#define INSIDE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "victim.h"

#define INSIDE_MOST 8
#define INSIDE_PIECE 4096
#define INSIDE_PARKED 9000

/* A connection: both ends, and the names they had when it was made. */
struct inside_connection {
	int end[2];
	bool messages;
	bool mapped; /* the ends write their addresses differently */
	bool fixed;  /* bound by us: another name than before is wrong; else it may have to be another port */
	struct sockaddr_storage name[2], peer[2];
	socklen_t name_length[2], peer_length[2];
};

static struct inside_connection inside[INSIDE_MOST];
static int inside_count;
static long inside_bytes; /* to send in each direction of each connection */
static uint64_t inside_sums[INSIDE_MOST][2];
static pthread_mutex_t inside_lock = PTHREAD_MUTEX_INITIALIZER;
static int inside_finished; /* directions closed: TCP forgets a peer when both are */

static unsigned char inside_byte(int connection, int direction, long at)
{
	return (unsigned char)(mix((uint64_t)(connection * 2 + direction) << 40 | (uint64_t)at / 8) >> at % 8 * 8);
}

static void inside_names(struct inside_connection *connection)
{
	int i;

	for (i = 0; i < 2; i++) {
		connection->name_length[i] = connection->peer_length[i] = sizeof(connection->name[i]);
		memset(&connection->name[i], 0, sizeof(connection->name[i]));
		memset(&connection->peer[i], 0, sizeof(connection->peer[i]));
		CHECK_EQUAL(getsockname(connection->end[i], (struct sockaddr *)&connection->name[i],
					&connection->name_length[i]),
			    0);
		CHECK_EQUAL(getpeername(connection->end[i], (struct sockaddr *)&connection->peer[i],
					&connection->peer_length[i]),
			    0);
	}
}

static void inside_check_names(const struct inside_connection *connection)
{
	struct inside_connection now = {.end = {connection->end[0], connection->end[1]}};
	int i;

	inside_names(&now);
	if (!connection->mapped) {
		CHECK_EQUAL(now.name_length[0], now.peer_length[1]);
		CHECK_EQUAL(now.name_length[1], now.peer_length[0]);
		CHECK(!memcmp(&now.name[0], &now.peer[1], sizeof(now.name[0])));
		CHECK(!memcmp(&now.name[1], &now.peer[0], sizeof(now.name[0])));
	}
	CHECK_EQUAL(now.name_length[1], connection->name_length[1]);
	CHECK(!memcmp(&now.name[1], &connection->name[1], sizeof(now.name[1])));
	for (i = 0; i < 2 && connection->fixed; i++) {
		CHECK_EQUAL(now.name_length[i], connection->name_length[i]);
		CHECK_EQUAL(now.peer_length[i], connection->peer_length[i]);
		CHECK(!memcmp(&now.name[i], &connection->name[i], sizeof(now.name[i])));
		CHECK(!memcmp(&now.peer[i], &connection->peer[i], sizeof(now.peer[i])));
	}
}

static void inside_bind(int fd, int port)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;

	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	do
		from.sin_port = htons((uint16_t)port++);
	while (bind(fd, (const struct sockaddr *)&from, sizeof(from)) && errno == EADDRINUSE);
}

/* Connects a socket of `family` to `listener`, where it is known as `address`; from a port of its own
 * when `port` is given. */
static struct inside_connection *inside_connect(int listener, int family, int type, const void *address,
						socklen_t length, int port)
{
	struct inside_connection *connection = &inside[inside_count++];

	CHECK(inside_count <= INSIDE_MOST);
	connection->end[0] = socket(family, type | SOCK_CLOEXEC, 0);
	CHECK(connection->end[0] >= 0);
	connection->fixed = family == AF_UNIX || port > 0;
	if (port > 0)
		inside_bind(connection->end[0], port);
	CHECK_EQUAL(connect(connection->end[0], address, length), 0);
	connection->end[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(connection->end[1] >= 0);
	connection->messages = type != SOCK_STREAM;
	inside_names(connection);
	return connection;
}

static void *inside_sender(void *argument)
{
	int number = (int)(intptr_t)argument / 2, direction = (int)(intptr_t)argument % 2;
	int fd = inside[number].end[direction];
	uint64_t state = (uint64_t)(intptr_t)argument;
	unsigned char bytes[INSIDE_PIECE];
	long at = 0;

	while (at < inside_bytes) {
		long length = 1 + (long)(next_random(&state) % INSIDE_PIECE), i;
		ssize_t sent;

		if (length > inside_bytes - at)
			length = inside_bytes - at;
		for (i = 0; i < length; i++)
			bytes[i] = inside_byte(number, direction, at + i);
		sent = send(fd, bytes, (size_t)length, MSG_NOSIGNAL);
		CHECK(sent > 0);
		at += sent;
	}
	pthread_mutex_lock(&inside_lock);
	inside_finished++;
	CHECK_EQUAL(shutdown(fd, SHUT_WR), 0);
	pthread_mutex_unlock(&inside_lock);
	return NULL;
}

static void inside_look(const struct inside_connection *connection)
{
	pthread_mutex_lock(&inside_lock);
	if (inside_finished == 0)
		inside_check_names(connection);
	pthread_mutex_unlock(&inside_lock);
}

/* Reads slower than is sent at times, so that buffers are full at some checkpoints. */
static void *inside_receiver(void *argument)
{
	int number = (int)(intptr_t)argument / 2, direction = (int)(intptr_t)argument % 2;
	int fd = inside[number].end[!direction];
	uint64_t state = ~(uint64_t)(intptr_t)argument, sum = 0;
	unsigned char bytes[INSIDE_PIECE];
	long at = 0, i;
	ssize_t got;

	while ((got = recv(fd, bytes, inside[number].messages ? sizeof(bytes) : 1 + next_random(&state) % sizeof(bytes),
			   0)) > 0) {
		for (i = 0; i < got; i++)
			CHECK_EQUAL(bytes[i], inside_byte(number, direction, at + i));
		at += got;
		sum = mix(sum + bytes[0] + (uint64_t)at / INSIDE_PIECE);
		if (next_random(&state) % 512 == 0)
			usleep((useconds_t)(next_random(&state) % 30000));
		if (next_random(&state) % 64 == 0)
			inside_look(&inside[number]);
	}
	CHECK_EQUAL(got, 0);
	CHECK_EQUAL(at, inside_bytes);
	inside_sums[number][direction] = mix((uint64_t)at);
	return NULL;
}

/* A connection nobody reads from until the end: contents both ways, one end closed for writing. */
static void inside_park(const struct inside_connection *connection)
{
	unsigned char bytes[INSIDE_PARKED];
	int end, i;

	for (end = 0; end < 2; end++) {
		for (i = 0; i < INSIDE_PARKED; i++)
			bytes[i] = inside_byte(99, end, i);
		CHECK_EQUAL(send(connection->end[end], bytes, sizeof(bytes), 0), (long)sizeof(bytes));
	}
	CHECK_EQUAL(shutdown(connection->end[0], SHUT_WR), 0);
}

static void inside_unpark(const struct inside_connection *connection)
{
	unsigned char bytes[INSIDE_PARKED];
	struct pollfd polled = {.fd = connection->end[1], .events = POLLRDHUP};
	int end, i;

	inside_check_names(connection);
	CHECK_EQUAL(poll(&polled, 1, 0), 1);
	for (end = 0; end < 2; end++) {
		CHECK_EQUAL(recv(connection->end[!end], bytes, sizeof(bytes), MSG_WAITALL), (long)sizeof(bytes));
		for (i = 0; i < INSIDE_PARKED; i++)
			CHECK_EQUAL(bytes[i], inside_byte(99, end, i));
	}
	CHECK_EQUAL(recv(connection->end[1], bytes, 1, 0), 0);
	CHECK_EQUAL(recv(connection->end[0], bytes, 1, MSG_DONTWAIT), -1);
	CHECK_EQUAL(errno, EAGAIN);
	CHECK_EQUAL(send(connection->end[0], bytes, 1, MSG_NOSIGNAL), -1);
	CHECK_EQUAL(errno, EPIPE);
	CHECK_EQUAL(send(connection->end[1], "x", 1, 0), 1);
	CHECK_EQUAL(recv(connection->end[0], bytes, 1, 0), 1);
}

/* Sends `bytes` through all connections at once, through every other one the other way. */
static void run_inside(long bytes)
{
	pthread_t threads[2 * INSIDE_MOST];
	int i;

	inside_bytes = bytes;
	for (i = 0; i < inside_count; i++) {
		void *argument = (void *)(intptr_t)(2 * i + i % 2);

		threads[2 * i] = start_thread(inside_receiver, argument);
		threads[2 * i + 1] = start_thread(inside_sender, argument);
	}
	for (i = 0; i < 2 * inside_count; i++)
		join_thread(threads[i]);
	for (i = 0; i < inside_count; i++)
		printf("connection %d: %llu\n", i, (unsigned long long)inside_sums[i][i % 2]);
}

#endif
