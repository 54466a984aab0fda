/*
 * Sending an unread message again with the descriptors it carries and with who had sent it. The kernel
 * lets nobody claim to be a process that has ended: of such a one it comes as the program's own.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(DESCRIPTOR_RIGHTS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
};

/* What is sent besides the bytes, being put together. */
struct attachment {
	size_t length;
	struct ucred *credentials; /* where they are in it; NULL: none */
	union control control;     /* last: a cmsghdr ends in an array without a size */
};

static void *attach(struct attachment *attachment, int type, size_t length)
{
	struct cmsghdr *part = (struct cmsghdr *)(void *)(attachment->control.room + attachment->length);
	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = type;
	part->cmsg_len = CMSG_LEN(length);
	attachment->length += CMSG_SPACE(length);
	return CMSG_DATA(part);
}

static void attach_rights(struct restoration *restoration, struct attachment *attachment, const struct message *message)
{
	int numbers[DESCRIPTOR_RIGHTS];
	for (uint32_t i = 0; i < message->right_count; i++) {
		const struct entry *right = restore_find(restoration, message->rights[i]);
		numbers[i] = restore_source(restoration, right)->temporary;
	}
	size_t length = message->right_count * sizeof(numbers[0]);
	if (length > 0)
		memcpy(attach(attachment, SCM_RIGHTS, length), numbers, length);
}

static void attach_credentials(struct attachment *attachment, const struct message *message)
{
	const struct descriptor_credentials *recorded = message->credentials;
	if (recorded == NULL)
		return;
	const struct ucred credentials = {.pid = recorded->pid, .uid = recorded->uid, .gid = recorded->gid};
	attachment->credentials = attach(attachment, SCM_CREDENTIALS, sizeof(credentials));
	memcpy(attachment->credentials, &credentials, sizeof(credentials));
}

static void claim_own(struct restoration *restoration, const struct entry *entry, struct attachment *attachment)
{
	const struct ucred own = {.pid = getpid(), .uid = getuid(), .gid = getgid()};
	if (!restoration->told_credentials)
		restore_warn(restoration,
			     "descriptor %d (socket): unread messages of process %d, which is gone, come as the "
			     "program's own",
			     entry->record.number, (int)attachment->credentials->pid);
	restoration->told_credentials = true;
	memcpy(attachment->credentials, &own, sizeof(own));
}

ssize_t restore_send_message(struct restoration *restoration, const struct entry *entry, int fd,
			     const struct message *message, size_t done, const struct sockaddr_storage *to,
			     socklen_t to_length)
{
	struct attachment attachment = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)(message->bytes + done), .iov_len = message->length - done};
	struct msghdr header = {
		.msg_name = (void *)(uintptr_t)to, .msg_namelen = to_length, .msg_iov = &part, .msg_iovlen = 1};
	if (done == message->address_length)
		attach_rights(restoration, &attachment, message);
	attach_credentials(&attachment, message);
	header.msg_control = attachment.length > 0 ? &attachment.control : NULL;
	header.msg_controllen = attachment.length;
	ssize_t sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0 || attachment.credentials == NULL || (errno != EPERM && errno != ESRCH && errno != EINVAL))
		return sent;
	claim_own(restoration, entry, &attachment);
	return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}
