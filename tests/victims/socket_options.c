/* Options of sockets stay what they were, of all kinds of sockets, also of ones that are connected and
 * also when they have just been changed. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "victim.h"

struct option {
	int level, option;
	int value[2]; /* it is set to one or the other */
	int doubled;  /* the kernel doubles what it is given */
};

static const struct option tcp_options[] = {
	{SOL_SOCKET, SO_KEEPALIVE, {0, 1}, 0},
	{SOL_SOCKET, SO_RCVBUF, {40000, 60000}, 1},
	{SOL_SOCKET, SO_SNDBUF, {40000, 60000}, 1},
	{SOL_SOCKET, SO_RCVLOWAT, {1, 7}, 0},
	{SOL_SOCKET, SO_OOBINLINE, {0, 1}, 0},
	{SOL_SOCKET, SO_REUSEPORT, {0, 1}, 0},
	{SOL_SOCKET, SO_DONTROUTE, {0, 1}, 0},
	{IPPROTO_TCP, TCP_NODELAY, {0, 1}, 0},
	{IPPROTO_TCP, TCP_KEEPIDLE, {50, 60}, 0},
	{IPPROTO_TCP, TCP_KEEPINTVL, {5, 6}, 0},
	{IPPROTO_TCP, TCP_KEEPCNT, {3, 4}, 0},
	{IPPROTO_TCP, TCP_SYNCNT, {2, 3}, 0},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, {10000, 0}, 0},
	{IPPROTO_TCP, TCP_CORK, {0, 1}, 0},
	{IPPROTO_IP, IP_TOS, {8, 16}, 0},
	{IPPROTO_IP, IP_TTL, {33, 64}, 0},
	{IPPROTO_IP, IP_MTU_DISCOVER, {0, 2}, 0},
};

static const struct option udp_options[] = {
	{SOL_SOCKET, SO_BROADCAST, {0, 1}, 0},      {SOL_SOCKET, SO_REUSEADDR, {0, 1}, 0},
	{SOL_SOCKET, SO_TIMESTAMP, {0, 1}, 0},      {SOL_SOCKET, SO_NO_CHECK, {0, 1}, 0},
	{SOL_SOCKET, SO_RXQ_OVFL, {0, 1}, 0},       {IPPROTO_IP, IP_PKTINFO, {0, 1}, 0},
	{IPPROTO_IP, IP_RECVTTL, {0, 1}, 0},        {IPPROTO_IP, IP_RECVTOS, {0, 1}, 0},
	{IPPROTO_IP, IP_RECVERR, {0, 1}, 0},        {IPPROTO_IP, IP_MULTICAST_TTL, {1, 9}, 0},
	{IPPROTO_IP, IP_MULTICAST_LOOP, {0, 1}, 0}, {IPPROTO_IP, IP_MULTICAST_ALL, {0, 1}, 0},
	{IPPROTO_IP, IP_FREEBIND, {0, 1}, 0},       {SOL_SOCKET, SO_PRIORITY, {0, 3}, 0},
};

static const struct option udp6_options[] = {
	{IPPROTO_IPV6, IPV6_TCLASS, {0, 12}, 0},        {IPPROTO_IPV6, IPV6_UNICAST_HOPS, {20, 64}, 0},
	{IPPROTO_IPV6, IPV6_RECVPKTINFO, {0, 1}, 0},    {IPPROTO_IPV6, IPV6_RECVTCLASS, {0, 1}, 0},
	{IPPROTO_IPV6, IPV6_MULTICAST_HOPS, {1, 5}, 0}, {IPPROTO_IPV6, IPV6_V6ONLY, {0, 1}, 0},
};

#define SOCKETS 6

static struct {
	int fd;
	const struct option *options;
	int count;
	int now[32]; /* which value each has */
} sockets[SOCKETS];
static int socket_count;

static void add(int fd, const struct option *options, size_t size)
{
	CHECK(fd >= 0);
	sockets[socket_count].fd = fd;
	sockets[socket_count].options = options;
	sockets[socket_count++].count = (int)(size / sizeof(*options));
}

static void set(int number, int option, int which)
{
	const struct option *at = &sockets[number].options[option];

	CHECK_EQUAL(setsockopt(sockets[number].fd, at->level, at->option, &at->value[which], sizeof(int)), 0);
	sockets[number].now[option] = which;
}

static void check(int number, int option)
{
	const struct option *at = &sockets[number].options[option];
	int value = -1;
	socklen_t length = sizeof(value);

	CHECK_EQUAL(getsockopt(sockets[number].fd, at->level, at->option, &value, &length), 0);
	CHECK_EQUAL(value, at->value[sockets[number].now[option]] * (at->doubled ? 2 : 1));
}

static void check_others(int fd)
{
	struct timeval timeout = {0};
	struct linger linger = {0};
	socklen_t length = sizeof(timeout);

	CHECK_EQUAL(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, &length), 0);
	CHECK_EQUAL(timeout.tv_sec, 5);
	CHECK_EQUAL(timeout.tv_usec, 0);
	length = sizeof(linger);
	CHECK_EQUAL(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length), 0);
	CHECK_EQUAL(linger.l_onoff, 1);
	CHECK_EQUAL(linger.l_linger, 3);
}

static void make_sockets(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval timeout = {.tv_sec = 5};
	struct linger linger = {1, 3};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), on = 1, six;

	CHECK_EQUAL(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	CHECK_EQUAL(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQUAL(listen(listener, 5), 0);
	CHECK_EQUAL(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	CHECK_EQUAL(connect(client, (struct sockaddr *)&address, length), 0);
	CHECK_EQUAL(setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)), 0);
	CHECK_EQUAL(setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	add(client, tcp_options, sizeof(tcp_options));
	add(accept(listener, NULL, NULL), tcp_options, sizeof(tcp_options));
	add(socket(AF_INET, SOCK_STREAM, 0), tcp_options, sizeof(tcp_options));
	add(socket(AF_INET, SOCK_DGRAM, 0), udp_options, sizeof(udp_options));
	six = socket(AF_INET6, SOCK_DGRAM, 0);
	if (six >= 0)
		add(six, udp6_options, sizeof(udp6_options));
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 60000), i;
	uint64_t state = 1;
	int number, option;

	make_sockets();
	for (number = 0; number < socket_count; number++)
		for (option = 0; option < sockets[number].count; option++)
			set(number, option, option % 2);
	for (i = 0; i < rounds; i++) {
		number = (int)(next_random(&state) % (uint64_t)socket_count);
		option = (int)(next_random(&state) % (uint64_t)sockets[number].count);
		check(number, option);
		set(number, option, (int)(next_random(&state) % 2));
		check(number, option);
		check_others(sockets[0].fd);
		spin(state, 3000);
	}
	for (number = 0; number < socket_count; number++)
		for (option = 0; option < sockets[number].count; option++)
			check(number, option);
	printf("%ld rounds: %llu\n", rounds, (unsigned long long)state);
	return 0;
}
