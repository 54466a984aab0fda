/*
 * Netlink sockets: what waits to be read of the kernel's answer to a question. Only the first message can be looked at, as
 * these sockets have no SO_PEEK_OFF, and only the kernel can send one. So its head is kept, from which the
 * question can be asked again (tools/restore/descriptors/netlink.c).
 *
 * The kernel answers within send() as far as the receive buffer goes, and goes on with a long list within recv(): where
 * an answer is under way, some of it is there.
 */
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <string.h>

#include "descriptor/table.h"

/* Bytes of memory that all messages in the queue take. */
static uint32_t queued_bytes(int fd)
{
	uint32_t figures[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof(figures);
	return rt_sys_getsockopt(fd, SOL_SOCKET, SO_MEMINFO, figures, &length) < 0 ? 0 : figures[SK_MEMINFO_RMEM_ALLOC];
}

void rt_descriptor_put_answer(struct descriptor *descriptor, struct manifest_writer *writer)
{
	struct descriptor_answer answer = {0};
	struct sockaddr_nl from = {0};
	struct iovec part = {.iov_base = answer.head, .iov_len = sizeof(answer.head)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof(from)};
	if (descriptor->ready >= 0 && !(descriptor->ready & POLLIN))
		return;
	if (descriptor->ready >= 0 && (descriptor->ready & POLLERR)) {
		descriptor->reason = "has an error pending: it would be restored without its unread messages";
		return;
	}
	answer.queued = queued_bytes(descriptor->number);
	ssize_t length = rt_sys_recvmsg(descriptor->number, &message, MSG_PEEK | MSG_DONTWAIT);
	if (length <= 0 || from.nl_pid != 0)
		return;
	answer.length = (uint32_t)length;
	rt_descriptor_put_message(writer, &answer, sizeof(answer), 0);
}
