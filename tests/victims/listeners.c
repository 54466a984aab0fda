/* Listening sockets of all kinds go on under the same address: a port the kernel chose, IPv6 alone
 * and for both, a group that shares a port, an abstract name; with backlog and options. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "victim.h"

#define MOST 8

static struct {
	int fd, client_family;
	struct sockaddr_storage name, target;
	socklen_t length, target_length;
} listeners[MOST];
static int count;

static int listen_on(const void *address, socklen_t length, int level, int option)
{
	int family = ((const struct sockaddr *)address)->sa_family, on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (family != AF_UNIX)
		CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	if (option)
		CHECK_EQUAL(setsockopt(fd, level, option, &on, sizeof(on)), 0);
	if (bind(fd, address, length)) {
		close(fd);
		return -1;
	}
	CHECK_EQUAL(listen(fd, 21), 0);
	listeners[count].fd = fd;
	listeners[count].length = sizeof(listeners[count].name);
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&listeners[count].name, &listeners[count].length), 0);
	listeners[count].target = listeners[count].name;
	listeners[count].target_length = listeners[count].length;
	return count++;
}

static void make_listeners(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET}, loopback = any, mapped = any;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback},
			    both = {.sin6_family = AF_INET6};
	struct sockaddr_un hidden = {.sun_family = AF_UNIX};
	socklen_t length;
	int number;

	loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	number = listen_on(&any, sizeof(any), 0, 0);
	CHECK(number >= 0);
	((struct sockaddr_in *)&listeners[number].target)->sin_addr = loopback.sin_addr;
	number = listen_on(&loopback, sizeof(loopback), SOL_SOCKET, SO_REUSEPORT);
	CHECK(number >= 0);
	number = listen_on(&listeners[number].name, sizeof(loopback), SOL_SOCKET, SO_REUSEPORT);
	CHECK(number >= 0);
	listen_on(&six, sizeof(six), IPPROTO_IPV6, IPV6_V6ONLY);
	number = listen_on(&both, sizeof(both), 0, 0);
	if (number >= 0) { /* reached by IPv4 */
		mapped.sin_port = both.sin6_port;
		mapped.sin_addr = loopback.sin_addr;
		mapped.sin_port = ((struct sockaddr_in6 *)&listeners[number].name)->sin6_port;
		memset(&listeners[number].target, 0, sizeof(listeners[number].target));
		memcpy(&listeners[number].target, &mapped, sizeof(mapped));
		listeners[number].target_length = sizeof(mapped);
	}
	length = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 +
		 (socklen_t)sprintf(hidden.sun_path + 1, "listeners-%d-%llx", getpid(),
				    (unsigned long long)clock_ns(CLOCK_REALTIME));
	CHECK(listen_on(&hidden, length, 0, 0) >= 0);
}

/* A group shares what comes: either of the two may get it. */
static int accept_any(int number)
{
	int fd = -1, i;

	while (fd < 0)
		for (i = 0; i < count && fd < 0; i++)
			if (listeners[i].length == listeners[number].length &&
			    !memcmp(&listeners[i].name, &listeners[number].name, listeners[i].length)) {
				fd = accept4(listeners[i].fd, NULL, NULL, SOCK_CLOEXEC);
				CHECK(fd >= 0 || errno == EAGAIN || errno == ECONNABORTED);
			}
	return fd;
}

static void check(int number)
{
	struct sockaddr_storage name = {0};
	struct tcp_info info;
	socklen_t length = sizeof(name);
	int fd = listeners[number].fd, on = 0;

	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&name, &length), 0);
	CHECK_EQUAL(length, listeners[number].length);
	CHECK(!memcmp(&name, &listeners[number].name, length));
	if (name.ss_family == AF_UNIX)
		return;
	length = sizeof(info);
	CHECK_EQUAL(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
	CHECK_EQUAL(info.tcpi_sacked, 21); /* the backlog */
	length = sizeof(on);
	CHECK_EQUAL(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &length), 0);
	CHECK_EQUAL(on, 1);
	if (name.ss_family == AF_INET6) {
		CHECK_EQUAL(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, &length), 0);
		CHECK_EQUAL(on, listeners[number].target.ss_family == AF_INET6);
	}
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2600), i;
	uint64_t sum = 0;
	char byte;

	make_listeners();
	for (i = 0; i < count; i++) {
		int flags = 1;

		CHECK_EQUAL(setsockopt(listeners[i].fd, SOL_SOCKET, SO_KEEPALIVE, &flags, sizeof(flags)), 0);
		CHECK_EQUAL(fcntl(listeners[i].fd, F_SETFL, O_NONBLOCK), 0);
	}
	for (i = 0; i < rounds; i++) {
		int number = (int)(mix((uint64_t)i) % (uint64_t)count), server;
		int client = socket(listeners[number].target.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		check(number);
		CHECK_EQUAL(
			connect(client, (struct sockaddr *)&listeners[number].target, listeners[number].target_length),
			0);
		server = accept_any(number);
		byte = (char)i;
		CHECK_EQUAL(send(client, &byte, 1, MSG_NOSIGNAL), 1);
		CHECK_EQUAL(recv(server, &byte, 1, 0), 1);
		CHECK_EQUAL(byte, (char)i);
		sum = mix(sum + (uint64_t)byte);
		/* No connection that has ended keeps the address: the client goes first. */
		CHECK_EQUAL(close(client), 0);
		CHECK_EQUAL(recv(server, &byte, 1, 0), 0);
		CHECK_EQUAL(close(server), 0);
		spin(sum, 60000);
	}
	printf("%ld rounds on %d: %llu\n", rounds, count, (unsigned long long)sum);
	return 0;
}
