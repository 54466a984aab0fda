/*
 * Questions to the kernel by netlink: threads that ask for addresses and interfaces, by getaddrinfo(), getifaddrs() and
 * by hand, get each answer to its end, also when the question was asked before the kill.
 */
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <sys/socket.h>

#include "victim.h"

static long rounds;

/* What glibc asks in there it waits for without any timeout. */
static void *resolve(void *unused)
{
	struct addrinfo hints = {.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list;

	for (long i = 0; i < rounds; i++) {
		CHECK_EQUAL(getaddrinfo("127.0.0.1", "80", &hints, &list), 0);
		freeaddrinfo(list);
	}
	return unused;
}

static void *list_interfaces(void *unused)
{
	for (long i = 0; i < rounds / 2; i++) {
		struct ifaddrs *list;
		bool loopback = false;

		CHECK_EQUAL(getifaddrs(&list), 0);
		for (struct ifaddrs *at = list; at; at = at->ifa_next)
			loopback |= strcmp(at->ifa_name, "lo") == 0;
		CHECK(loopback);
		freeifaddrs(list);
	}
	return unused;
}

struct question {
	struct nlmsghdr header;
	union {
		struct ifaddrmsg address;
		struct ifinfomsg interface;
	};
};

/* Reads until `last` has come, or the end of a list; how many messages of type `wanted` came before it. */
static int read_answer(int fd, uint32_t sequence, int wanted, bool *acknowledged)
{
	static _Alignas(NLMSG_ALIGNTO) char buffer[32768];
	int count = 0;

	for (;;) {
		ssize_t length = recv(fd, buffer, sizeof(buffer), 0);

		CHECK(length > 0);
		for (struct nlmsghdr *at = (void *)buffer; NLMSG_OK(at, length); at = NLMSG_NEXT(at, length)) {
			CHECK_EQUAL(at->nlmsg_seq, sequence);
			if (at->nlmsg_type == NLMSG_ERROR) {
				CHECK_EQUAL(((struct nlmsgerr *)NLMSG_DATA(at))->error, 0);
				*acknowledged = true;
				return count;
			}
			if (at->nlmsg_type == NLMSG_DONE)
				return count;
			CHECK_EQUAL(at->nlmsg_type, wanted);
			count++;
		}
	}
}

/* A list, then one interface and the acknowledgement, each question on the same socket. */
static void *ask_by_hand(void *unused)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), on = 1;
	int loopback = (int)if_nametoindex("lo");
	socklen_t length = sizeof(on);
	uint32_t sequence = 0;
	bool acknowledged;

	CHECK(fd >= 0);
	CHECK_EQUAL(setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)), 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&kernel, sizeof(kernel)), 0);
	for (long i = 0; i < rounds; i++) {
		struct question list = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(list.address)),
						   .nlmsg_type = RTM_GETADDR,
						   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
						   .nlmsg_seq = ++sequence}};
		struct question one = {.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(one.interface)),
						  .nlmsg_type = RTM_GETLINK,
						  .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
				       .interface.ifi_index = loopback};

		CHECK(sendto(fd, &list, list.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) > 0);
		CHECK(read_answer(fd, sequence, RTM_NEWADDR, &acknowledged) > 0);
		one.header.nlmsg_seq = ++sequence;
		acknowledged = false;
		CHECK(sendto(fd, &one, one.header.nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof(kernel)) > 0);
		CHECK(read_answer(fd, sequence, RTM_NEWLINK, &acknowledged) <= 1 && acknowledged);
	}
	on = 0;
	CHECK_EQUAL(getsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, &length), 0);
	CHECK_EQUAL(on, 1);
	close(fd);
	return unused;
}

int main(int argc, char **argv)
{
	void *(*const works[])(void *) = {resolve, resolve, list_interfaces, ask_by_hand};
	pthread_t threads[4];

	rounds = victim_work(argc, argv, 20000);
	for (int i = 0; i < 4; i++)
		CHECK_EQUAL(pthread_create(&threads[i], NULL, works[i], NULL), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
	printf("all questions were answered\n");
	return 0;
}
