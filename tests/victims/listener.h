/*
 * A server with a listening socket and clients in the same process, for tcp_server and
 * unix_server. Connections do not live through a restore, the listening socket does: a client
 * whose connection is closed connects again and repeats its last request.
 */
#ifndef LISTENER_H
#define LISTENER_H

#include <poll.h>
#include <sys/socket.h>

#include "victim.h"

#define LISTENER_CLIENTS 3
#define LISTENER_CONNECTIONS 16
#define LISTENER_REQUESTS_PER_CONNECTION 64

struct listener_request {
	uint64_t client, sequence;
};

static int listener_fd;
static const struct sockaddr *listener_address;
static socklen_t listener_address_length;
static long listener_rounds;
static uint64_t listener_sums[LISTENER_CLIENTS];
static bool listener_stop; /* atomic */

static uint64_t listener_answer(const struct listener_request *request)
{
	return mix(request->client << 48 | request->sequence);
}

/* Exactly `length` bytes, or false when the connection is closed, in whatever way. */
static bool listener_read(int fd, void *buffer, size_t length)
{
	char *bytes = buffer;

	while (length > 0) {
		ssize_t got = recv(fd, bytes, length, 0);

		if (got < 0)
			CHECK(errno == ECONNRESET || errno == ENOTCONN || errno == EPIPE);
		if (got <= 0)
			return false;
		bytes += got;
		length -= (size_t)got;
	}
	return true;
}

static bool listener_write(int fd, const void *bytes, size_t length)
{
	ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

	if (sent < 0)
		CHECK(errno == ECONNRESET || errno == ENOTCONN || errno == EPIPE);
	return sent == (ssize_t)length;
}

/* ---- the server: one thread, all connections in one poll ---- */

static bool listener_serve(int fd)
{
	struct listener_request request;
	uint64_t answer;

	if (!listener_read(fd, &request, sizeof(request)))
		return false;
	answer = listener_answer(&request);
	return listener_write(fd, &answer, sizeof(answer));
}

static void listener_accept(struct pollfd *sockets, nfds_t *count)
{
	int fd = accept4(listener_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0) {
		CHECK(errno == EAGAIN || errno == ECONNABORTED);
		return;
	}
	if (*count == LISTENER_CONNECTIONS) {
		close(fd);
		return;
	}
	sockets[(*count)++] = (struct pollfd){fd, POLLIN, 0};
}

static void *listener_server(void *argument)
{
	struct pollfd sockets[LISTENER_CONNECTIONS] = {{listener_fd, POLLIN, 0}};
	nfds_t count = 1, i;

	(void)argument;
	while (!__atomic_load_n(&listener_stop, __ATOMIC_ACQUIRE)) {
		CHECK(poll(sockets, count, 50) >= 0);
		for (i = count; i-- > 1;) {
			if (!sockets[i].revents || listener_serve(sockets[i].fd))
				continue;
			CHECK_EQUAL(close(sockets[i].fd), 0);
			sockets[i] = sockets[--count];
		}
		CHECK((sockets[0].revents & ~POLLIN) == 0);
		if (sockets[0].revents)
			listener_accept(sockets, &count);
	}
	return NULL;
}

/* ---- the clients ---- */

/* The listening socket is there before any thread runs, so nobody is ever refused. */
static int listener_connect(void)
{
	int fd = socket(listener_address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	while (connect(fd, listener_address, listener_address_length)) {
		CHECK(errno == ECONNRESET || errno == EAGAIN || errno == ECONNABORTED);
		CHECK_EQUAL(close(fd), 0);
		fd = socket(listener_address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	return fd;
}

static void *listener_client(void *argument)
{
	struct listener_request request = {(uint64_t)(uintptr_t)argument, 0};
	uint64_t sum = 0, answer;
	int fd = -1;

	while (request.sequence < (uint64_t)listener_rounds) {
		if (fd < 0)
			fd = listener_connect();
		if (!listener_write(fd, &request, sizeof(request)) || !listener_read(fd, &answer, sizeof(answer))) {
			CHECK_EQUAL(close(fd), 0);
			fd = -1;
			continue;
		}
		CHECK(answer == listener_answer(&request));
		sum += answer;
		if (++request.sequence % LISTENER_REQUESTS_PER_CONNECTION == 0) {
			CHECK_EQUAL(close(fd), 0);
			fd = -1;
		}
	}
	listener_sums[request.client] = sum;
	return NULL;
}

/* Runs clients against the listening socket `fd` of `address` until each has had `rounds` answers. */
static void run_listener(int fd, const struct sockaddr *address, socklen_t length, long rounds)
{
	pthread_t server;
	int i;

	listener_fd = fd;
	listener_address = address;
	listener_address_length = length;
	listener_rounds = rounds;
	server = start_thread(listener_server, NULL);
	run_threads(LISTENER_CLIENTS, listener_client);
	__atomic_store_n(&listener_stop, true, __ATOMIC_RELEASE);
	join_thread(server);
	for (i = 0; i < LISTENER_CLIENTS; i++)
		printf("client %d: %llu\n", i, (unsigned long long)listener_sums[i]);
}

#endif
