/* Netlink sockets: runtime/descriptor/netlink.c and its restore. */
#include "descriptor_harness.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

TestSuite(descriptor_netlink, .init = open_scene, .fini = close_scene);

static const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

static void open_socket(int number, int protocol)
{
	put_at(socket(AF_NETLINK, SOCK_RAW, protocol), number);
	CHECK(bind(number, (const struct sockaddr *)&kernel, sizeof(kernel)) == 0);
}

static void ask(int fd, uint16_t type, uint16_t flags, uint32_t sequence)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg body;
	} question = {.header = {.nlmsg_len = sizeof(question),
				 .nlmsg_type = type,
				 .nlmsg_flags = NLM_F_REQUEST | flags,
				 .nlmsg_seq = sequence}};
	if (!(flags & NLM_F_DUMP))
		question.body.ifi_index = (int)if_nametoindex("lo");
	CHECK(sendto(fd, &question, sizeof(question), 0, (const struct sockaddr *)&kernel, sizeof(kernel)) > 0);
}

/* One message after the other, whatever they came in: its type, -1 when there is none; its number in *sequence, the error in
 * *error. */
static int next_message(int fd, uint32_t *sequence, int *error)
{
	static _Alignas(NLMSG_ALIGNTO) char buffer[65536];
	static struct nlmsghdr *at;
	static ssize_t left;
	if (left < NLMSG_HDRLEN) {
		left = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
		at = (void *)buffer;
		if (left < NLMSG_HDRLEN)
			return -1;
	}
	struct nlmsghdr *message = at;
	CHECK(NLMSG_OK(message, left));
	*sequence = message->nlmsg_seq;
	*error = message->nlmsg_type == NLMSG_ERROR ? ((struct nlmsgerr *)NLMSG_DATA(message))->error : 0;
	at = NLMSG_NEXT(at, left);
	return message->nlmsg_type;
}

static void expect(int fd, int type, uint32_t sequence)
{
	uint32_t found;
	int error;
	CHECK(next_message(fd, &found, &error) == type && found == sequence && error == 0);
}

static void expect_nothing(int fd)
{
	uint32_t sequence;
	int error;
	CHECK(next_message(fd, &sequence, &error) == -1);
}

/* At least one of these, then the end of the list. */
static void expect_list(int fd, int type, uint32_t sequence)
{
	uint32_t found;
	int error, got = next_message(fd, &found, &error);
	CHECK(got == type && found == sequence);
	while ((got = next_message(fd, &found, &error)) == type)
		;
	CHECK(got == NLMSG_DONE && found == sequence);
}

static void open_with_answers(void)
{
	open_socket(10, NETLINK_ROUTE);
	ask(10, RTM_GETLINK, NLM_F_DUMP, 1001);
	open_socket(11, NETLINK_ROUTE);
	ask(11, RTM_GETLINK, NLM_F_ACK, 1002);
	open_socket(12, NETLINK_ROUTE);
	ask(12, RTM_GETLINK, 0, 1003);
	open_socket(13, NETLINK_ROUTE);
	ask(13, RTM_GETLINK, NLM_F_ACK, 1004);
	expect(13, RTM_NEWLINK, 1004);
	open_socket(14, NETLINK_ROUTE);
	ask(14, RTM_GETLINK, NLM_F_DUMP, 1005);
	for (char bytes[65536];;) { /* all but the end of the list */
		ssize_t length = recv(14, bytes, sizeof(bytes), MSG_PEEK);
		if (((struct nlmsghdr *)(void *)bytes)->nlmsg_type == NLMSG_DONE)
			break;
		CHECK(recv(14, bytes, sizeof(bytes), 0) == length);
	}
	open_socket(15, NETLINK_GENERIC);
	ask(15, 0x7ff0, 0, 1006);
	put_at(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), 16);
	open_socket(17, NETLINK_ROUTE);
}

static void check_answers(void)
{
	uint32_t sequence;
	int error;
	expect_list(10, RTM_NEWLINK, 1001);
	expect_nothing(10);
	expect(11, RTM_NEWLINK, 1002);
	expect(11, NLMSG_ERROR, 1002);
	expect_nothing(11);
	expect(12, RTM_NEWLINK, 1003);
	expect_nothing(12);
	expect(13, NLMSG_ERROR, 1004);
	expect_nothing(13);
	expect(14, NLMSG_DONE, 1005);
	expect_nothing(14);
	CHECK(next_message(15, &sequence, &error) == NLMSG_ERROR && sequence == 1006 && error < 0);
	expect_nothing(15);
	/* Not bound yet: it can be still. */
	CHECK(bind(16, (const struct sockaddr *)&kernel, sizeof(kernel)) == 0);
	expect_nothing(17);
}

Test(descriptor_netlink, answers_come_again)
{
	check_kept(open_with_answers, check_answers);
}

static void join(int fd, int group)
{
	CHECK(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0);
}

static void check_groups(int fd, uint32_t first, uint32_t second)
{
	uint32_t groups[64] = {0};
	socklen_t length = sizeof(groups);
	CHECK(getsockopt(fd, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &length) == 0);
	CHECK(groups[0] == first && groups[1] == second);
	for (size_t i = 2; i < 64; i++)
		CHECK(groups[i] == 0);
}

static void open_members(void)
{
	open_socket(10, NETLINK_ROUTE);
	join(10, RTNLGRP_LINK);
	join(10, RTNLGRP_BRVLAN);
	put_at(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), 11);
	join(11, RTNLGRP_LINK);
	open_socket(12, NETLINK_ROUTE);
	join(12, RTNLGRP_BRVLAN);
	open_socket(13, NETLINK_ROUTE);
}

static void check_members(void)
{
	check_groups(10, 1U << (RTNLGRP_LINK - 1), 1U << (RTNLGRP_BRVLAN - 33));
	check_groups(11, 1U << (RTNLGRP_LINK - 1), 0);
	check_groups(12, 0, 1U << (RTNLGRP_BRVLAN - 33));
	check_groups(13, 0, 0);
	CHECK(bind(11, (const struct sockaddr *)&kernel, sizeof(kernel)) == 0);
}

Test(descriptor_netlink, groups_are_joined_again)
{
	check_kept(open_members, check_members);
}
