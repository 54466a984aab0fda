/* Multicast groups: sockets that joined them in several ways, or want to hear some senders only, get every
 * packet once and in order, also after a restore; those that do not want it get none. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "victim.h"

#define RECEIVERS 4
#define PENDING 8 /* packets that wait in a queue at most */

static struct sockaddr_in group = {.sin_family = AF_INET};
static int sockets[RECEIVERS], sender;
static long rounds, received[RECEIVERS]; /* atomic */
static uint64_t sums[RECEIVERS];

static void cannot(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(77);
}

static void set(int fd, int level, int option, const void *value, socklen_t length)
{
	if (setsockopt(fd, level, option, value, length) < 0)
		cannot("no multicast on the loopback interface");
}

static int new_socket(struct in_addr address)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = group.sin_port, .sin_addr = address};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, off = 0;

	CHECK(fd >= 0);
	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	CHECK_EQUAL(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_ALL, &off, sizeof(off)), 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&local, sizeof(local)), 0);
	return fd;
}

static void make_sockets(void)
{
	struct in_addr loopback = {htonl(INADDR_LOOPBACK)}, any = {htonl(INADDR_ANY)};
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr = loopback};
	socklen_t length = sizeof(own);
	struct ip_mreq by_address = {.imr_interface = loopback};
	struct group_req by_number = {.gr_interface = if_nametoindex("lo")};
	struct ip_mreq_source by_source = {.imr_interface = loopback, .imr_sourceaddr = loopback};
	int other = socket(AF_INET, SOCK_DGRAM, 0);

	sender = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK_EQUAL(bind(sender, (struct sockaddr *)&own, sizeof(own)), 0);
	set(sender, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof(loopback));
	/* A group and a port of this process's own. */
	CHECK_EQUAL(bind(other, (struct sockaddr *)&own, sizeof(own)), 0);
	CHECK_EQUAL(getsockname(other, (struct sockaddr *)&own, &length), 0);
	CHECK_EQUAL(close(other), 0);
	group.sin_port = own.sin_port;
	group.sin_addr.s_addr = htonl(0xefff0000 | (uint32_t)(getpid() & 0xffff));
	by_address.imr_multiaddr = by_source.imr_multiaddr = group.sin_addr;
	memcpy(&by_number.gr_group, &group, sizeof(group));

	sockets[0] = new_socket(group.sin_addr);
	set(sockets[0], IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof(by_address));
	sockets[1] = new_socket(any);
	set(sockets[1], IPPROTO_IP, MCAST_JOIN_GROUP, &by_number, sizeof(by_number));
	sockets[2] = new_socket(group.sin_addr);
	set(sockets[2], IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &by_source, sizeof(by_source));
	/* One that does not want to hear that sender. */
	sockets[3] = new_socket(group.sin_addr);
	set(sockets[3], IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof(by_address));
	set(sockets[3], IPPROTO_IP, IP_BLOCK_SOURCE, &by_source, sizeof(by_source));
}

static void *send_all(void *argument)
{
	long i, slowest;
	int at;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		do {
			for (slowest = i, at = 0; at < RECEIVERS - 1; at++) {
				long count = __atomic_load_n(&received[at], __ATOMIC_ACQUIRE);

				slowest = count < slowest ? count : slowest;
			}
		} while (i - slowest >= PENDING && usleep(200) == 0);
		CHECK_EQUAL(sendto(sender, &i, sizeof(i), 0, (struct sockaddr *)&group, sizeof(group)),
			    (long)sizeof(i));
	}
	return NULL;
}

static void *receive_all(void *argument)
{
	int at = (int)(intptr_t)argument;
	long i, number;

	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(recv(sockets[at], &number, sizeof(number), 0), (long)sizeof(number));
		CHECK_EQUAL(number, i);
		sums[at] = mix(sums[at] ^ (uint64_t)number);
		__atomic_store_n(&received[at], i + 1, __ATOMIC_RELEASE);
		if (mix((uint64_t)i * RECEIVERS + (uint64_t)at) % 8 == 0)
			usleep(2000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[RECEIVERS];
	int i;
	long number;

	rounds = victim_work(argc, argv, 4000);
	make_sockets();
	for (i = 0; i < RECEIVERS - 1; i++)
		threads[i] = start_thread(receive_all, (void *)(intptr_t)i);
	threads[i] = start_thread(send_all, NULL);
	for (i = 0; i < RECEIVERS; i++)
		join_thread(threads[i]);
	for (i = 0; i < RECEIVERS; i++) {
		CHECK_EQUAL(recv(sockets[i], &number, sizeof(number), MSG_DONTWAIT), -1);
		printf("multicast %d: %llu\n", i, (unsigned long long)sums[i]);
	}
	return 0;
}
