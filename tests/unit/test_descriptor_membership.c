/* Multicast groups: runtime/descriptor/membership.c and its restore. */
#include "descriptor_harness.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

TestSuite(descriptor_membership, .init = open_scene, .fini = close_scene);

/* setsockopt() as the shim has it. */
static void join(int fd, int level, int option, const void *value, socklen_t length)
{
	rt_descriptors_option_begins(fd);
	CHECK(setsockopt(fd, level, option, value, length) == 0);
	rt_descriptors_note_membership(fd, level, option, value, length);
	rt_descriptors_option_ends(fd);
}

static void change(int fd, int level, int option, const void *value, socklen_t length)
{
	rt_descriptors_option_begins(fd);
	CHECK(setsockopt(fd, level, option, value, length) == 0);
	rt_descriptors_option_ends(fd);
}

static struct in_addr address(const char *text)
{
	struct in_addr result;
	CHECK(inet_pton(AF_INET, text, &result) == 1);
	return result;
}

/* Whether the socket is in the group on the loopback interface; how, and from how many sources. */
static bool is_in(int fd, const char *group, uint32_t *mode, uint32_t *sources)
{
	struct group_filter filter = {.gf_interface = if_nametoindex("lo")};
	socklen_t length = GROUP_FILTER_SIZE(0);
	bool six = strchr(group, ':') != NULL;
	filter.gf_group.ss_family = six ? AF_INET6 : AF_INET;
	CHECK(inet_pton(filter.gf_group.ss_family, group,
			six ? (void *)&((struct sockaddr_in6 *)&filter.gf_group)->sin6_addr
			    : (void *)&((struct sockaddr_in *)&filter.gf_group)->sin_addr) == 1);
	if (getsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, MCAST_MSFILTER, &filter, &length) < 0)
		return false;
	*mode = filter.gf_fmode;
	*sources = filter.gf_numsrc;
	return true;
}

static void open_members(void)
{
	struct ip_mreq by_address = {address("239.7.7.1"), address("127.0.0.1")};
	struct ip_mreqn by_number = {.imr_multiaddr = address("239.7.7.2"), .imr_ifindex = (int)if_nametoindex("lo")};
	struct ip_mreq_source source = {address("239.7.7.3"), address("127.0.0.1"), address("10.1.1.1")};
	struct ip_mreq_source blocked = {address("239.7.7.1"), address("127.0.0.1"), address("10.1.1.3")};
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 10);
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 11);
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 12);
	join(10, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof(by_address));
	join(10, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_number, sizeof(by_number));
	join(11, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_address, sizeof(by_address));
	change(11, IPPROTO_IP, IP_BLOCK_SOURCE, &blocked, sizeof(blocked));
	join(11, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &source, sizeof(source));
	source.imr_sourceaddr = address("10.1.1.2");
	join(11, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &source, sizeof(source));
	join(12, IPPROTO_IP, IP_ADD_MEMBERSHIP, &by_number, sizeof(by_number));
	change(12, IPPROTO_IP, IP_DROP_MEMBERSHIP, &by_number, sizeof(by_number));
}

static void check_members(void)
{
	uint32_t mode, sources;
	CHECK(is_in(10, "239.7.7.1", &mode, &sources) && mode == MCAST_EXCLUDE && sources == 0);
	CHECK(is_in(10, "239.7.7.2", &mode, &sources) && mode == MCAST_EXCLUDE && sources == 0);
	CHECK(!is_in(10, "239.7.7.3", &mode, &sources));
	CHECK(is_in(11, "239.7.7.1", &mode, &sources) && mode == MCAST_EXCLUDE && sources == 1);
	CHECK(is_in(11, "239.7.7.3", &mode, &sources) && mode == MCAST_INCLUDE && sources == 2);
	CHECK(!is_in(11, "239.7.7.2", &mode, &sources));
	for (int i = 1; i <= 3; i++) {
		char group[16];
		snprintf(group, sizeof(group), "239.7.7.%d", i);
		CHECK(!is_in(12, group, &mode, &sources));
	}
}

Test(descriptor_membership, groups_are_joined_again)
{
	check_kept(open_members, check_members);
}

static void open_six(void)
{
	struct ipv6_mreq request = {.ipv6mr_interface = if_nametoindex("lo")};
	struct group_req four = {.gr_interface = if_nametoindex("lo")};
	CHECK(inet_pton(AF_INET6, "ff05::7:1", &request.ipv6mr_multiaddr) == 1);
	put_at(socket(AF_INET6, SOCK_DGRAM, 0), 10);
	join(10, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof(request));
	/* A socket of the one family may be in groups of the other. */
	*(struct sockaddr_in *)&four.gr_group =
		(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = address("239.7.7.1")};
	join(10, IPPROTO_IP, MCAST_JOIN_GROUP, &four, sizeof(four));
}

static void check_six(void)
{
	uint32_t mode, sources;
	CHECK(is_in(10, "ff05::7:1", &mode, &sources) && mode == MCAST_EXCLUDE && sources == 0);
	CHECK(is_in(10, "239.7.7.1", &mode, &sources) && mode == MCAST_EXCLUDE && sources == 0);
}

Test(descriptor_membership, groups_of_both_families)
{
	struct ipv6_mreq request = {.ipv6mr_interface = if_nametoindex("lo")};
	inet_pton(AF_INET6, "ff05::7:1", &request.ipv6mr_multiaddr);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &request, sizeof(request)) < 0)
		cr_skip_test("no IPv6 multicast on the loopback interface");
	close(fd);
	check_kept(open_six, check_six);
}

/* Two sockets at one address, and at a group's: each gets back what it had not read, and nothing else. */
static struct sockaddr_in group_address(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_addr = address("239.7.7.9"), .sin_port = htons((uint16_t)port)};
}

static int shared_port;

static void open_shared_address(void)
{
	struct ip_mreq request = {address("239.7.7.9"), address("127.0.0.1")};
	struct sockaddr_in at = group_address(shared_port),
			   own = {.sin_family = AF_INET, .sin_addr = address("127.0.0.1")};
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)shared_port)};
	int on = 1;
	for (int fd = 10; fd <= 13; fd++) {
		put_at(socket(AF_INET, SOCK_DGRAM, 0), fd);
		CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
		struct sockaddr_in *where = fd < 12 ? &at : &any;
		CHECK(bind(fd, (struct sockaddr *)where, sizeof(*where)) == 0);
		join(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof(request));
	}
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 14);
	CHECK(bind(14, (struct sockaddr *)&own, sizeof(own)) == 0);
	CHECK(setsockopt(14, IPPROTO_IP, IP_MULTICAST_IF, &own.sin_addr, sizeof(own.sin_addr)) == 0);
	CHECK(sendto(14, "first", 5, 0, (struct sockaddr *)&at, sizeof(at)) == 5);
	CHECK(reads(10, "first") && reads(12, "first"));
	CHECK(sendto(14, "second", 6, 0, (struct sockaddr *)&at, sizeof(at)) == 6);
}

static void check_shared_address(void)
{
	struct sockaddr_in at = group_address(shared_port);
	for (int fd = 10; fd <= 13; fd++)
		CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && (fd % 2 == 0 || reads(fd, "first")));
	for (int fd = 10; fd <= 13; fd++)
		CHECK(reads(fd, "second"));
	CHECK(sendto(14, "third", 5, 0, (struct sockaddr *)&at, sizeof(at)) == 5);
	char byte;
	for (int fd = 10; fd <= 13; fd++)
		CHECK(reads(fd, "third") && recv(fd, &byte, 1, 0) == -1 && errno == EAGAIN);
}

Test(descriptor_membership, unread_packets_go_to_their_socket)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	socklen_t length = sizeof(own);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert(bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0 &&
		  getsockname(fd, (struct sockaddr *)&own, &length) == 0);
	shared_port = ntohs(own.sin_port);
	close(fd);
	check_kept(open_shared_address, check_shared_address);
}

/* An interface that is gone: said, and the socket is there all the same. */
static void check_not_in(void)
{
	uint32_t mode, sources;
	CHECK(!is_in(10, "239.7.7.1", &mode, &sources) && fcntl(10, F_GETFD) >= 0);
	CHECK(!is_in(11, "239.7.7.3", &mode, &sources));
}

Test(descriptor_membership, an_interface_that_is_gone)
{
	capture_in_process(open_members, NULL);
	const char name[16] = "lo", gone[16] = "respct-none";
	uint8_t *end = scene->manifest + scene->length, *at = scene->manifest;
	int found = 0;
	for (; (at = memmem(at, (size_t)(end - at), name, sizeof(name))) != NULL; found++)
		memcpy(at, gone, sizeof(gone));
	cr_assert_eq(found, 4);
	restore_in_process(check_not_in);
}
