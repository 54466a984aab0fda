/* Unread datagrams of the program to itself come back whole, in order and with their sender's
 * address: UDP between bound, connected and unbound sockets, and unix datagrams by name. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "victim.h"

#define SENDERS 2
#define PENDING 8 /* at most so many wait in a queue: datagrams of a full one would be dropped */
#define LARGEST 1200

struct route {
	int to, from[SENDERS];
	struct sockaddr_storage name, sender[SENDERS];
	socklen_t name_length, sender_length[SENDERS];
	long sent, received; /* atomic */
	uint64_t sum;
};

static struct route udp, local;
static long rounds;

static void get_name(int fd, struct sockaddr_storage *name, socklen_t *length)
{
	*length = sizeof(*name);
	memset(name, 0, sizeof(*name));
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)name, length), 0);
}

static void *send_all(void *argument)
{
	struct route *route = argument;
	unsigned char bytes[LARGEST];
	long i;

	for (i = 0; i < rounds; i++) {
		size_t length = mix((uint64_t)i) % LARGEST, at;
		int sender = (int)(mix((uint64_t)i * 3) % SENDERS);

		if (length == 0)
			length = 1;
		for (at = 0; at < length; at++)
			bytes[at] = (unsigned char)(i + (long)at);
		/* Slower than the receiver at times, and faster at others: the queue is rarely empty. */
		while (i - __atomic_load_n(&route->received, __ATOMIC_ACQUIRE) >= PENDING)
			usleep(100);
		CHECK_EQUAL(sendto(route->from[sender], bytes, length, 0, (struct sockaddr *)&route->name,
				   route->name_length),
			    (long)length);
	}
	return NULL;
}

static void *receive_all(void *argument)
{
	struct route *route = argument;
	unsigned char bytes[LARGEST + 1];
	long i;

	for (i = 0; i < rounds; i++) {
		size_t length = mix((uint64_t)i) % LARGEST;
		int sender = (int)(mix((uint64_t)i * 3) % SENDERS);
		struct sockaddr_storage from = {0};
		socklen_t from_length = sizeof(from);
		ssize_t got = recvfrom(route->to, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &from_length);

		CHECK_EQUAL(got, (long)(length ? length : 1));
		CHECK_EQUAL(bytes[0], (unsigned char)i);
		CHECK_EQUAL(bytes[got - 1], (unsigned char)(i + got - 1));
		CHECK_EQUAL(from_length, route->sender_length[sender]);
		CHECK(!memcmp(&from, &route->sender[sender], from_length));
		route->sum = mix(route->sum ^ (uint64_t)got);
		__atomic_store_n(&route->received, i + 1, __ATOMIC_RELEASE);
		if (mix((uint64_t)i * 7) % 16 == 0)
			usleep(2000);
	}
	return NULL;
}

static void make_udp(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int i;

	udp.to = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK_EQUAL(bind(udp.to, (struct sockaddr *)&any, sizeof(any)), 0);
	get_name(udp.to, &udp.name, &udp.name_length);
	for (i = 0; i < SENDERS; i++) {
		udp.from[i] = socket(AF_INET, SOCK_DGRAM, 0);
		CHECK_EQUAL(bind(udp.from[i], (struct sockaddr *)&any, sizeof(any)), 0);
		get_name(udp.from[i], &udp.sender[i], &udp.sender_length[i]);
	}
	/* One of the senders only ever talks to this one. */
	CHECK_EQUAL(connect(udp.from[1], (struct sockaddr *)&udp.name, udp.name_length), 0);
}

static void make_local(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "datagrams.socket"};
	struct sockaddr_un sender = {.sun_family = AF_UNIX, .sun_path = "sender.socket"};
	sa_family_t automatic = AF_UNIX;

	local.to = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK_EQUAL(bind(local.to, (struct sockaddr *)&name, sizeof(name)), 0);
	get_name(local.to, &local.name, &local.name_length);
	local.from[0] = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK_EQUAL(bind(local.from[0], (struct sockaddr *)&sender, sizeof(sender)), 0);
	local.from[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
	CHECK_EQUAL(bind(local.from[1], (struct sockaddr *)&automatic, sizeof(automatic)), 0);
	get_name(local.from[0], &local.sender[0], &local.sender_length[0]);
	get_name(local.from[1], &local.sender[1], &local.sender_length[1]);
}

int main(int argc, char **argv)
{
	pthread_t threads[4];
	int i;

	rounds = victim_work(argc, argv, 12000);
	make_udp();
	make_local();
	threads[0] = start_thread(receive_all, &udp);
	threads[1] = start_thread(send_all, &udp);
	threads[2] = start_thread(receive_all, &local);
	threads[3] = start_thread(send_all, &local);
	for (i = 0; i < 4; i++)
		join_thread(threads[i]);
	printf("udp %llu, unix %llu\n", (unsigned long long)udp.sum, (unsigned long long)local.sum);
	return 0;
}
