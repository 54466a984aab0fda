/* Connections of the program that wait to be accepted still wait after a restore, on TCP and unix
 * sockets, in the order of the queue for the latter, and carry data once accepted. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "victim.h"

#define WAITING 4

static uint64_t sum;

static int listen_on(int family, void *address, socklen_t length)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (family == AF_INET)
		CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	CHECK_EQUAL(bind(fd, address, length), 0);
	CHECK_EQUAL(listen(fd, 16), 0);
	CHECK_EQUAL(getsockname(fd, address, &length), 0);
	return fd;
}

/* Connects some, works for a while, and only then accepts them. */
static void do_round(int listener, const void *address, socklen_t length, uint64_t round, bool ordered)
{
	int client[WAITING], server[WAITING], i, number;
	uint64_t value;

	for (i = 0; i < WAITING; i++) {
		client[i] = socket(((const struct sockaddr *)address)->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK_EQUAL(connect(client[i], address, length), 0);
	}
	usleep(3000);
	sum = spin(sum, 500000);
	for (i = 0; i < WAITING; i++) {
		server[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		CHECK(server[i] >= 0);
	}
	for (i = 0; i < WAITING; i++) {
		value = mix(round * WAITING + (uint64_t)i);
		CHECK_EQUAL(send(client[i], &value, sizeof(value), MSG_NOSIGNAL), (long)sizeof(value));
	}
	for (i = 0; i < WAITING; i++) {
		CHECK_EQUAL(recv(server[i], &value, sizeof(value), MSG_WAITALL), (long)sizeof(value));
		for (number = 0; number < WAITING && value != mix(round * WAITING + (uint64_t)number); number++)
			continue;
		CHECK(number < WAITING);
		if (ordered)
			CHECK_EQUAL(number, i);
		CHECK_EQUAL(close(server[i]), 0);
		CHECK_EQUAL(recv(client[number], &value, sizeof(value), 0), 0);
	}
	for (i = 0; i < WAITING; i++)
		CHECK_EQUAL(close(client[i]), 0);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "backlog.socket"};
	int tcp = listen_on(AF_INET, &address, sizeof(address)), local = listen_on(AF_UNIX, &path, sizeof(path));
	long rounds = victim_work(argc, argv, 150), i;

	for (i = 0; i < rounds; i++) {
		do_round(tcp, &address, sizeof(address), (uint64_t)(2 * i), false);
		do_round(local, &path, sizeof(path), (uint64_t)(2 * i + 1), true);
	}
	printf("%ld rounds: %llu\n", rounds, (unsigned long long)sum);
	return 0;
}
