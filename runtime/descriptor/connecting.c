/*
 * TCP sockets that are on their way: connect() waits, or was told not to wait. A restore makes the request anew, so it
 * needs to know where to. getpeername(2) says that of connections alone; sock_diag(7) does of all, by a walk through the
 * kernel's table of sockets, so it is asked once for all that are new.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>

#include "descriptor/table.h"

#define ANSWER_SIZE 16384 /* more than the kernel puts into one */

struct request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 question;
};

static bool is_open_question(struct descriptor_table *table, struct descriptor *descriptor, uint32_t family)
{
	if (!descriptor->connecting || descriptor->shared_with >= 0 || descriptor->family != family)
		return false;
	const struct socket_settings *settings = rt_descriptor_get_settings(table, descriptor);
	return settings != NULL && settings->socket.peer_length == 0;
}

static void set_peer(struct socket_settings *settings, const struct inet_diag_msg *answer)
{
	struct sockaddr_in *v4 = (void *)&settings->peer;
	struct sockaddr_in6 *v6 = (void *)&settings->peer;
	memset(&settings->peer, 0, sizeof(settings->peer));
	if (answer->idiag_family == AF_INET) {
		v4->sin_family = AF_INET;
		v4->sin_port = answer->id.idiag_dport;
		memcpy(&v4->sin_addr, answer->id.idiag_dst, sizeof(v4->sin_addr));
		settings->socket.peer_length = sizeof(*v4);
	} else {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = answer->id.idiag_dport;
		memcpy(&v6->sin6_addr, answer->id.idiag_dst, sizeof(v6->sin6_addr));
		if (IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr))
			v6->sin6_scope_id = answer->id.idiag_if;
		settings->socket.peer_length = sizeof(*v6);
	}
}

static void take_answer(struct descriptor_table *table, const struct inet_diag_msg *answer)
{
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->connecting && (uint32_t)descriptor->inode == answer->idiag_inode &&
		    is_open_question(table, descriptor, answer->idiag_family))
			set_peer(rt_descriptor_get_settings(table, descriptor), answer);
	}
}

/* One of the pieces in which the kernel answers. False: it was the last. */
static bool take_piece(struct descriptor_table *table, const char *bytes, size_t length)
{
	for (size_t at = 0; at + sizeof(struct nlmsghdr) <= length;) {
		const struct nlmsghdr *header = (const void *)(bytes + at);
		if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len > length - at ||
		    header->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
			return false;
		take_answer(table, NLMSG_DATA(header));
		at += NLMSG_ALIGN(header->nlmsg_len);
	}
	return length > 0;
}

static void ask(struct descriptor_table *table, int diag, uint32_t family)
{
	struct request request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.question = {.sdiag_family = (uint8_t)family,
			     .sdiag_protocol = IPPROTO_TCP,
			     .idiag_states = 1U << RT_TCP_SYN_SENT | 1U << RT_TCP_SYN_RECEIVED},
	};
	struct iovec part = {.iov_base = table->text.bytes, .iov_len = ANSWER_SIZE};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t length;
	if (rt_sys_write(diag, &request, sizeof(request)) < 0)
		return;
	do
		length = rt_sys_recvmsg(diag, &message, MSG_DONTWAIT);
	while (length > 0 && take_piece(table, table->text.bytes, (size_t)length));
}

/* Where the kernel does not tell, the restore makes do without. */
int rt_descriptor_find_destinations(struct descriptor_table *table)
{
	static const uint32_t families[] = {AF_INET, AF_INET6};
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		size_t first = 0;
		while (first < table->count && !is_open_question(table, &table->entries[first], families[i]))
			first++;
		if (first == table->count)
			continue;
		if (rt_descriptor_reserve(&table->text, ANSWER_SIZE) < 0)
			return -ENOMEM;
		int diag = rt_descriptor_open_socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
		if (diag < 0)
			return diag == -EMFILE || diag == -ENFILE ? diag : 0;
		ask(table, diag, families[i]);
		rt_sys_close(diag);
	}
	return 0;
}
