/*
 * Netlink sockets: answers of the kernel that the program had not read. The question is asked again, as far as the
 * head of the answer tells what it was: a list, one interface, an acknowledgement. Whatever else had been asked is
 * answered by an error: who waits for it goes on. Of a list, all comes again, also what had been read; and of all
 * address families. (netlink(7), rtnetlink(7))
 */
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <string.h>

#include "restore/descriptors/private.h"

#define NOBODY_MASTER 0x7fffffff /* no interface has this number */
#define NO_TYPE 0xffff           /* of messages, in any protocol */

/* Room for the longest: a list of the interfaces below another one. */
struct question {
	struct nlmsghdr header;
	uint8_t body[32];
};

static void ask(int fd, struct question *question, uint16_t type, uint16_t flags, size_t body_length)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	question->header.nlmsg_type = type;
	question->header.nlmsg_flags = NLM_F_REQUEST | flags;
	question->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body_length);
	(void)sendto(fd, question, question->header.nlmsg_len, MSG_DONTWAIT, (const struct sockaddr *)&kernel,
		     sizeof(kernel));
}

/* Bytes of what follows the header of a question about such things. */
static size_t body_length(uint16_t type)
{
	switch (type) {
	case RTM_GETLINK: return sizeof(struct ifinfomsg);
	case RTM_GETADDR: return sizeof(struct ifaddrmsg);
	case RTM_GETROUTE: return sizeof(struct rtmsg);
	case RTM_GETNEIGH: return sizeof(struct ndmsg);
	case RTM_GETRULE: return sizeof(struct fib_rule_hdr);
	case RTM_GETQDISC: return sizeof(struct tcmsg);
	default: return sizeof(struct rtgenmsg);
	}
}

/* Which question has answers of this type, 0: none. */
static uint16_t question_for(uint16_t answer)
{
	return answer >= RTM_BASE && answer <= RTM_MAX && (answer - RTM_BASE) % 4 == 0
		       ? (uint16_t)(answer + RTM_GETLINK - RTM_NEWLINK)
		       : 0;
}

static uint32_t queued_bytes(int fd)
{
	uint32_t figures[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(figures);
	return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, figures, &length) < 0 ? 0 : figures[SK_MEMINFO_RMEM_ALLOC];
}

static void ask_for_end_of_list(int fd, struct question *question)
{
	const struct rtattr attribute = {.rta_len = RTA_LENGTH(sizeof(int)), .rta_type = IFLA_MASTER};
	const int master = NOBODY_MASTER;
	uint8_t *at = question->body + NLMSG_ALIGN(sizeof(struct ifinfomsg));
	memcpy(at, &attribute, sizeof(attribute));
	memcpy(at + RTA_LENGTH(0), &master, sizeof(master));
	ask(fd, question, RTM_GETLINK, NLM_F_DUMP, (size_t)(at + RTA_SPACE(sizeof(master)) - question->body));
}

static void ask_for_acknowledgement(int fd, struct question *question)
{
	ask(fd, question, NLMSG_NOOP, NLM_F_ACK, 0);
}

/* It is acknowledged, too, if more was in the queue than it takes. */
static void ask_for_interface(int fd, struct question *question, const struct descriptor_answer *answer)
{
	const struct ifinfomsg *found = (const void *)(answer->head + NLMSG_HDRLEN);
	const struct ifinfomsg wanted = {.ifi_family = found->ifi_family, .ifi_index = found->ifi_index};
	memcpy(question->body, &wanted, sizeof(wanted));
	ask(fd, question, RTM_GETLINK, 0, sizeof(wanted));
	if (answer->queued > queued_bytes(fd))
		ask_for_acknowledgement(fd, question);
}

static bool is_acknowledgement(const struct descriptor_answer *answer)
{
	const struct nlmsghdr *header = (const void *)answer->head;
	return header->nlmsg_type == NLMSG_ERROR && answer->length >= NLMSG_LENGTH(sizeof(int)) &&
	       *(const int *)NLMSG_DATA(header) == 0;
}

static void ask_for(int fd, uint32_t protocol, const struct descriptor_answer *answer)
{
	const struct nlmsghdr *header = (const void *)answer->head;
	struct question question = {.header.nlmsg_seq = header->nlmsg_seq};
	bool route = protocol == NETLINK_ROUTE;
	uint16_t type = route ? question_for(header->nlmsg_type) : 0;
	if (is_acknowledgement(answer))
		ask_for_acknowledgement(fd, &question);
	else if (route && header->nlmsg_type == NLMSG_DONE)
		ask_for_end_of_list(fd, &question);
	else if (type != 0 && (header->nlmsg_flags & NLM_F_MULTI))
		ask(fd, &question, type, NLM_F_DUMP, body_length(type));
	else if (type == RTM_GETLINK && answer->length >= NLMSG_LENGTH(sizeof(struct ifinfomsg)))
		ask_for_interface(fd, &question, answer);
	else
		ask(fd, &question, NO_TYPE, NLM_F_ACK, 0);
}

static bool use_answer(void *context, const struct message *message)
{
	memcpy(context, message->bytes, sizeof(struct descriptor_answer));
	return true;
}

bool restore_valid_answer(const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	size_t length = entry->record.payload_length - restore_socket_messages(entry);
	struct descriptor_answer answer;
	if (recorded->family != AF_NETLINK || length == 0)
		return true;
	if (length != sizeof(struct descriptor_message) + sizeof(answer))
		return false;
	memcpy(&answer, entry->payload + entry->record.payload_length - sizeof(answer), sizeof(answer));
	return answer.length >= sizeof(struct nlmsghdr) && answer.length <= sizeof(answer.head);
}

void restore_ask_again(const struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	const struct sockaddr_storage local = restore_local_address(entry);
	struct descriptor_answer answer = {0};
	size_t start = restore_socket_messages(entry);
	if (start == entry->record.payload_length)
		return;
	restore_each_message(entry, start, use_answer, &answer);
	const struct nlmsghdr *header = (const void *)answer.head;
	if (header->nlmsg_pid != 0 && header->nlmsg_pid == ((const struct sockaddr_nl *)(const void *)&local)->nl_pid)
		ask_for(entry->temporary, recorded->protocol, &answer);
	else
		restore_warn(restoration,
			     "descriptor %d (socket): what the kernel had announced there, unread, is lost",
			     entry->record.number);
}
