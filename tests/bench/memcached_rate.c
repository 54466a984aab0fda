/*
 * How many operations a memcached does in a second: nine gets to one set, of random keys.
 *
 *   memcached_rate PORT SECONDS
 *
 * Sets every key once, then runs CONNECTIONS connections, a thread each, which send one request,
 * wait for its answer, send the next. Every value that comes back is checked to be its key's.
 * Prints "operations_per_second X".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 8
#define KEYS 100000
#define VALUE_BYTES 200
#define LARGEST_ANSWER 512

static struct sockaddr_in address = {.sin_family = AF_INET};
static bool ending;

struct connection {
	unsigned number;
	int fd;
	uint64_t operations, random;
};

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "memcached_rate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_connection(struct connection *connection)
{
	int on = 1;
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("cannot connect");
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* Sends one request and receives up to the given end of the answer. */
static void exchange(struct connection *connection, const char *request, size_t length, char *answer, const char *end)
{
	size_t got = 0, end_length = strlen(end);
	if (send(connection->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length)
		fail("send");
	while (got < end_length || memcmp(answer + got - end_length, end, end_length) != 0) {
		ssize_t part = recv(connection->fd, answer + got, LARGEST_ANSWER - got, 0);
		if (part <= 0)
			fail("receive");
		got += (size_t)part;
	}
	answer[got] = '\0';
}

static void set_key(struct connection *connection, unsigned key)
{
	char request[VALUE_BYTES + 100], answer[LARGEST_ANSWER + 1];
	int length = sprintf(request, "set key:%08u 0 0 %d\r\n%08u%0*d\r\n", key, VALUE_BYTES, key, VALUE_BYTES - 8, 0);
	exchange(connection, request, (size_t)length, answer, "\r\n");
	if (strcmp(answer, "STORED\r\n") != 0)
		fail(answer);
}

static void get_key(struct connection *connection, unsigned key)
{
	char request[100], answer[LARGEST_ANSWER + 1], expected[100];
	int length = sprintf(request, "get key:%08u\r\n", key);
	exchange(connection, request, (size_t)length, answer, "END\r\n");
	length = sprintf(expected, "VALUE key:%08u 0 %d\r\n%08u", key, VALUE_BYTES, key);
	if (strncmp(answer, expected, (size_t)length) != 0)
		fail(answer);
}

static void *fill(void *argument)
{
	struct connection *connection = argument;
	open_connection(connection);
	for (unsigned key = connection->number; key < KEYS; key += CONNECTIONS)
		set_key(connection, key);
	return NULL;
}

static void *load(void *argument)
{
	struct connection *connection = argument;
	while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
		connection->random = connection->random * 6364136223846793005UL + 1442695040888963407UL;
		unsigned key = (unsigned)(connection->random >> 33) % KEYS;
		if ((connection->random >> 20) % 10 == 0)
			set_key(connection, key);
		else
			get_key(connection, key);
		connection->operations++;
	}
	close(connection->fd);
	return NULL;
}

/* Runs it on every connection, for so many seconds or until all have done. */
static void run(struct connection *connections, void *(*function)(void *), unsigned seconds)
{
	pthread_t threads[CONNECTIONS];
	for (unsigned i = 0; i < CONNECTIONS; i++)
		if (pthread_create(&threads[i], NULL, function, &connections[i]) != 0)
			fail("cannot start a thread");
	sleep(seconds);
	__atomic_store_n(&ending, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		pthread_join(threads[i], NULL);
	ending = false;
}

int main(int argc, char **argv)
{
	static struct connection connections[CONNECTIONS];
	struct timespec started, ended;
	uint64_t operations = 0;
	if (argc != 3) {
		fprintf(stderr, "usage: memcached_rate PORT SECONDS\n");
		return 2;
	}
	address.sin_port = htons((uint16_t)atoi(argv[1]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		connections[i].number = (unsigned)(connections[i].random = i);
	run(connections, fill, 0);
	clock_gettime(CLOCK_MONOTONIC, &started);
	run(connections, load, (unsigned)atoi(argv[2]));
	clock_gettime(CLOCK_MONOTONIC, &ended);
	for (unsigned i = 0; i < CONNECTIONS; i++)
		operations += connections[i].operations;
	double elapsed = (double)(ended.tv_sec - started.tv_sec) + (double)(ended.tv_nsec - started.tv_nsec) / 1e9;
	printf("operations_per_second %.0f\n", (double)operations / elapsed);
	return 0;
}
