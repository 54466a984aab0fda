/*
 * What sockets have received and the program has not read; in the stop only. Nothing is consumed:
 * messages are peeked at one after the other by SO_PEEK_OFF, which is set back; of a TCP stream the
 * whole queue is peeked at once. An error that waits to be told would be, by looking where nothing
 * is to be read, or at a message: so that is not done.
 *
 * With a unix socket's messages may come descriptors and who has sent them. Those descriptors can only
 * be had in flight.c's thread; elsewhere it is enough to hear that there are some.
 *
 * Of a TCP connection within the process a part may not have arrived yet: the acknowledgement is
 * outstanding, the sender waits for more to send, or the receiver's window is full. It is helped
 * along until all is in the receiver's queue, for nobody can look into the sender's.
 */
#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>

#include "descriptor/table.h"

#define PEEK_CHUNK (256 * 1024)
#define ADDRESS_ROOM sizeof(struct sockaddr_storage)
#define MOST_EMPTY_MESSAGES 4096 /* more datagrams of no bytes in a row are not believed */
#define SETTLE_NS 100000000L     /* without any progress for so long, what is on its way stays there */
#define LARGEST_BUFFER (1 << 30)
#define SCM_PIDFD_MESSAGE 4 /* SCM_PIDFD, Linux 6.5 */

static int ask(int fd, unsigned long request)
{
	int value = 0;
	return rt_sys_ioctl(fd, request, &value) < 0 ? 0 : value;
}

static bool has_option(struct descriptor_table *table, struct descriptor *descriptor, uint32_t option)
{
	const struct socket_settings *settings = rt_descriptor_get_settings(table, descriptor);
	for (uint32_t i = 0; settings != NULL && i < settings->socket.option_count; i++)
		if (settings->options[i].option == option)
			return true;
	return false;
}

static void set_option(int fd, int level, int option, int value)
{
	rt_sys_setsockopt(fd, level, option, &value, sizeof(value));
}

/* ---- messages, and unix streams ---- */

/* One call's worth at the peek offset: (a part of) a message. */
struct peeked {
	char *bytes; /* the sender's address, then the message */
	size_t address_length, length;
	int rights[DESCRIPTOR_RIGHTS]; /* duplicates, only in flight.c's thread */
	uint32_t right_count;
	struct ucred credentials; /* pid 0: none */
	bool cut;                 /* truncated */
	bool more_control;        /* there was more with it than we got */
};

/* Where the kernel puts what comes with a message. Outside flight.c's thread no descriptor fits. */
union control {
	struct cmsghdr header;
	char alone[CMSG_SPACE(sizeof(struct ucred))];
	char all[CMSG_SPACE(DESCRIPTOR_RIGHTS * sizeof(int)) + 1024];
};

static void take_control(struct peeked *peeked, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
		size_t length = part->cmsg_len - CMSG_LEN(0);
		if (part->cmsg_level != SOL_SOCKET)
			continue;
		if (part->cmsg_type == SCM_CREDENTIALS && length >= sizeof(peeked->credentials))
			memcpy(&peeked->credentials, CMSG_DATA(part), sizeof(peeked->credentials));
		if (part->cmsg_type == SCM_PIDFD_MESSAGE && length >= sizeof(int))
			rt_sys_close(*(int *)(void *)CMSG_DATA(part));
		if (part->cmsg_type != SCM_RIGHTS || length > sizeof(peeked->rights))
			continue;
		memcpy(peeked->rights, CMSG_DATA(part), length);
		peeked->right_count = (uint32_t)(length / sizeof(int));
	}
}

/* What is asked for besides the message: nothing, who has sent it, or all. */
static size_t control_room(struct descriptor_table *table, struct descriptor *descriptor)
{
	if (descriptor->family != AF_UNIX)
		return 0;
	if (table->flights.aside)
		return sizeof(union control);
	/* One that tells by a descriptor who the sender is would make one here. */
	return has_option(table, descriptor, DESCRIPTOR_OPTION_PASSCRED) &&
			       !has_option(table, descriptor, DESCRIPTOR_OPTION_PASSPIDFD)
		       ? CMSG_SPACE(sizeof(struct ucred))
		       : 0;
}

/* At most `limit` bytes. Its length, or -errno. */
static ssize_t peek_at(struct descriptor_table *table, struct descriptor *descriptor, size_t limit,
		       struct peeked *peeked)
{
	char address[ADDRESS_ROOM] = {0};
	union control control;
	struct iovec part = {.iov_base = table->text.bytes + ADDRESS_ROOM, .iov_len = limit};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	memset(peeked, 0, offsetof(struct peeked, rights));
	peeked->right_count = 0;
	peeked->credentials.pid = 0;
	if ((message.msg_controllen = control_room(table, descriptor)) > 0)
		message.msg_control = &control;
	if (!rt_descriptor_is_stream(descriptor)) {
		message.msg_name = address;
		message.msg_namelen = sizeof(address);
	}
	ssize_t length = rt_sys_recvmsg(descriptor->number, &message, MSG_PEEK | MSG_DONTWAIT);
	if (length < 0)
		return length;
	take_control(peeked, &message);
	peeked->cut = (message.msg_flags & MSG_TRUNC) != 0;
	peeked->more_control = descriptor->family == AF_UNIX && (message.msg_flags & MSG_CTRUNC);
	peeked->bytes = part.iov_base;
	peeked->length = (size_t)length;
	if (message.msg_name != NULL && message.msg_namelen <= sizeof(address)) {
		peeked->address_length = rt_descriptor_address_length(address, message.msg_namelen);
		peeked->bytes -= peeked->address_length;
		memcpy(peeked->bytes, address, peeked->address_length);
	}
	return length;
}

/* Adds the bytes from `from` on; `rights`: with the descriptors, by the numbers of their entries. */
static void put_part(struct manifest_writer *writer, const struct peeked *peeked, size_t from, size_t to, bool rights)
{
	struct descriptor_message message = {
		.length = (uint32_t)(peeked->address_length + to - from),
		.address_length = (uint32_t)peeked->address_length,
		.rights = rights ? peeked->right_count : 0,
		.has_credentials = peeked->credentials.pid != 0,
	};
	const struct descriptor_credentials credentials = {
		.pid = peeked->credentials.pid, .uid = peeked->credentials.uid, .gid = peeked->credentials.gid};
	rt_manifest_put(writer, &message, sizeof(message));
	rt_manifest_put(writer, peeked->bytes, peeked->address_length);
	rt_manifest_put(writer, peeked->bytes + peeked->address_length + from, to - from);
	rt_descriptor_pad(writer);
	rt_manifest_put(writer, peeked->rights, message.rights * sizeof(peeked->rights[0]));
	rt_descriptor_pad(writer);
	if (message.has_credentials)
		rt_manifest_put(writer, &credentials, sizeof(credentials));
}

/*
 * A stream's read ends with a message that carries descriptors, but begins with what was before it, and
 * who reads only that gets no descriptors. To find where the last message begins that a look of `length`
 * bytes at `offset` has met: with no room for the last byte, it is the one that cannot be copied. Changes
 * the peek offset. -errno on failure.
 */
static ssize_t find_start(struct descriptor_table *table, struct descriptor *descriptor, size_t offset, size_t length)
{
	struct iovec parts[] = {
		{.iov_base = table->text.bytes + ADDRESS_ROOM, .iov_len = length - 1},
		{.iov_base = (void *)(uintptr_t)find_start, .iov_len = 1}, /* code, which is not writable */
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	if (length <= 1)
		return 0;
	set_option(descriptor->number, SOL_SOCKET, SO_PEEK_OFF, (int)offset);
	ssize_t result = rt_sys_recvmsg(descriptor->number, &message, MSG_PEEK | MSG_DONTWAIT);
	return result == -EFAULT ? 0 : result;
}

static void drop_rights(struct peeked *peeked)
{
	for (uint32_t i = 0; i < peeked->right_count; i++)
		rt_sys_close(peeked->rights[i]);
	peeked->right_count = 0;
}

/* The duplicates become entries. */
static int take_rights(struct descriptor_table *table, struct peeked *peeked)
{
	for (uint32_t i = 0; i < peeked->right_count; i++) {
		int number = rt_descriptor_take_in_flight(table, peeked->rights[i]);
		if (number < 0)
			return number;
		peeked->rights[i] = number;
	}
	return 0;
}

/* A piece of a stream that carries descriptors. */
static int put_stream_with_rights(struct descriptor_table *table, struct descriptor *descriptor,
				  struct manifest_writer *writer, struct peeked *peeked, size_t offset)
{
	int result = 0;
	ssize_t start = find_start(table, descriptor, offset, peeked->length);
	if (start < 0) {
		drop_rights(peeked);
		return (int)start;
	}
	/* A look whose room is used up takes the descriptors of what comes next: that is looked at again. */
	bool next = peeked->length == PEEK_CHUNK && start > 0;
	if (next)
		drop_rights(peeked);
	else
		result = take_rights(table, peeked);
	if (start > 0)
		put_part(writer, peeked, 0, (size_t)start, false);
	if (next)
		peeked->length = (size_t)start;
	else
		put_part(writer, peeked, (size_t)start, peeked->length, true);
	set_option(descriptor->number, SOL_SOCKET, SO_PEEK_OFF, (int)(offset + peeked->length));
	return result;
}

static int put_with_rights(struct descriptor_table *table, struct descriptor *descriptor,
			   struct manifest_writer *writer, struct peeked *peeked, size_t offset)
{
	if (descriptor->type == SOCK_STREAM)
		return put_stream_with_rights(table, descriptor, writer, peeked, offset);
	int result = take_rights(table, peeked);
	put_part(writer, peeked, 0, peeked->length, true);
	return result;
}

/* Whether there was no message: a stream that has nothing (more), or nobody to send any. */
static bool is_end(const struct descriptor *descriptor, const struct peeked *peeked)
{
	if (peeked->length > 0 || peeked->right_count > 0 || !rt_descriptor_is_stream(descriptor))
		return false;
	return descriptor->type == SOCK_STREAM || descriptor->ready < 0 || (descriptor->ready & POLLRDHUP);
}

/* What came with it and could not be had. -ECANCELED: flight.c's thread can have it. */
static int note_rest(struct descriptor_table *table, struct descriptor *descriptor, const struct peeked *peeked)
{
	if (!peeked->more_control)
		return 0;
	if (!table->flights.aside && !table->flights.refused)
		return -ECANCELED;
	descriptor->reason = table->flights.aside
				     ? "will be restored without some of the descriptors in its unread messages"
				     : "will be restored without the descriptors or credentials in its unread messages";
	return 0;
}

/* One call's worth at the peek offset. 1: there may be more, 0: no more. */
static int peek(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer,
		int *empty, size_t *bytes)
{
	struct peeked peeked;
	int result;
	ssize_t length = peek_at(table, descriptor, PEEK_CHUNK, &peeked);
	if (length < 0 || is_end(descriptor, &peeked))
		return length == -EAGAIN || length == 0 ? 0 : (int)length;
	if (peeked.cut) {
		drop_rights(&peeked);
		return rt_descriptor_lost(descriptor, "cannot be restored: an unread message of more than 256 KiB");
	}
	if ((result = note_rest(table, descriptor, &peeked)) < 0)
		return result;
	if (peeked.right_count == 0)
		put_part(writer, &peeked, 0, peeked.length, false);
	else if ((result = put_with_rights(table, descriptor, writer, &peeked, *bytes)) < 0)
		return result;
	/* The kernel passes over an empty one that has been looked at before. */
	if (peeked.length == 0)
		descriptor->reason = "will be restored without empty messages that wait unread for long";
	*bytes += peeked.length;
	*empty = peeked.length == 0 ? *empty + 1 : 0;
	return *empty < MOST_EMPTY_MESSAGES;
}

/* Of a unix stream, as much as it says is there. */
static int put_unix_stream(struct descriptor_table *table, struct descriptor *descriptor,
			   struct manifest_writer *writer)
{
	size_t there = (size_t)ask(descriptor->number, SIOCINQ), peeked = 0;
	int none = 0, result = 1;
	while (result > 0 && peeked < there)
		result = peek(table, descriptor, writer, &none, &peeked);
	return result < 0 ? result : 0;
}

static int put_messages(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer)
{
	int fd = descriptor->number, old, start = 0, empty = 0, result = 1;
	size_t bytes = 0;
	if (descriptor->type != SOCK_STREAM && descriptor->ready >= 0 && (descriptor->ready & POLLERR)) {
		descriptor->reason = "has an error pending: it would be restored without its unread messages";
		return 0;
	}
	if (rt_descriptor_reserve(&table->text, PEEK_CHUNK + ADDRESS_ROOM) < 0)
		return -ENOMEM;
	if (!rt_descriptor_get_option(fd, SOL_SOCKET, SO_PEEK_OFF, &old) ||
	    rt_sys_setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) < 0)
		return rt_descriptor_lost(descriptor, "cannot be restored: its unread contents cannot be copied");
	if (descriptor->type == SOCK_STREAM)
		result = put_unix_stream(table, descriptor, writer);
	while (result > 0)
		result = peek(table, descriptor, writer, &empty, &bytes);
	rt_sys_setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &old, sizeof(old));
	return result;
}

int rt_descriptor_walk_unix(struct descriptor_table *table, struct descriptor *descriptor,
			    struct manifest_writer *writer)
{
	return put_messages(table, descriptor, writer);
}

/* ---- TCP ---- */

/* The whole receive queue, or -errno. */
static ssize_t peek_stream(struct descriptor_table *table, int fd)
{
	size_t room = (size_t)ask(fd, SIOCINQ) + 1;
	if (room == 1)
		return 0;
	for (;;) {
		if (rt_descriptor_reserve(&table->text, room) < 0)
			return -ENOMEM;
		struct iovec part = {.iov_base = table->text.bytes, .iov_len = room};
		struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
		ssize_t length = rt_sys_recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
		if (length < (ssize_t)room)
			return length;
		room *= 2; /* more has come meanwhile */
	}
}

static int put_stream(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer)
{
	int fd = descriptor->number, offset = -1;
	if (has_option(table, descriptor, DESCRIPTOR_OPTION_PEEK_OFF) &&
	    rt_descriptor_get_option(fd, SOL_SOCKET, SO_PEEK_OFF, &offset))
		set_option(fd, SOL_SOCKET, SO_PEEK_OFF, -1);
	ssize_t length = peek_stream(table, fd);
	if (offset != -1)
		set_option(fd, SOL_SOCKET, SO_PEEK_OFF, offset);
	if (length == -ENOMEM)
		return -ENOMEM;
	if (descriptor->ready > 0 && (descriptor->ready & POLLPRI))
		descriptor->reason = "will be restored without its unread urgent data and what follows that";
	if (length > 0) /* an error: the connection was reset, there is nothing to read */
		rt_descriptor_put_message(writer, table->text.bytes, (size_t)length, 0);
	return 0;
}

int rt_descriptor_put_unread(struct descriptor_table *table, struct descriptor *descriptor,
			     struct manifest_writer *writer)
{
	bool tcp = rt_descriptor_is_tcp(descriptor);
	if (tcp && (descriptor->peer_inode != 0 || has_option(table, descriptor, DESCRIPTOR_OPTION_RCVLOWAT)))
		return put_stream(table, descriptor, writer); /* poll() may have said nothing */
	if (descriptor->ready >= 0 && !(descriptor->ready & POLLIN))
		return 0;
	if (tcp)
		return put_stream(table, descriptor, writer);
	return table->flights.walked && descriptor->family == AF_UNIX
		       ? rt_descriptor_put_queue(table, descriptor, writer)
		       : put_messages(table, descriptor, writer);
}

/* ---- what is on its way ---- */

static int64_t now_ns(void)
{
	struct timespec now;
	rt_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Bytes sent and not acknowledged; the end of the stream, which counts as one, aside. */
static int on_its_way(const struct descriptor *from, const struct descriptor *to)
{
	int count = ask(from->number, SIOCOUTQ);
	if (count != 1)
		return count;
	switch (rt_descriptor_tcp_state(to->number)) {
	case RT_TCP_CLOSE_WAIT:
	case RT_TCP_CLOSING:
	case RT_TCP_LAST_ACK: return 0;
	default: return 1;
	}
}

/* Whatever the sender holds back, it sends now: setting TCP_NODELAY does, TCP_CORK or not. */
static void push(int from)
{
	int old;
	if (rt_descriptor_get_option(from, IPPROTO_TCP, TCP_NODELAY, &old) && !old) {
		set_option(from, IPPROTO_TCP, TCP_NODELAY, 1);
		set_option(from, IPPROTO_TCP, TCP_NODELAY, 0);
	}
}

/* Buffer sizes before the receiver's window was opened. */
struct window {
	int low_mark, size, locked;
	bool open;
};

/* SO_RCVLOWAT makes room for so much, unless the size was set by hand. */
static void open_window(int to, struct window *window)
{
	if (window->open)
		return;
	window->open = true;
	rt_descriptor_get_option(to, SOL_SOCKET, SO_RCVLOWAT, &window->low_mark);
	rt_descriptor_get_option(to, SOL_SOCKET, SO_RCVBUF, &window->size);
	if (!rt_descriptor_get_option(to, SOL_SOCKET, SO_BUF_LOCK, &window->locked))
		window->locked = 0;
	if (window->locked & 2) { /* SOCK_RCVBUF_LOCK */
		int size = LARGEST_BUFFER;
		if (rt_sys_setsockopt(to, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
			set_option(to, SOL_SOCKET, SO_RCVBUF, size);
		set_option(to, IPPROTO_TCP, TCP_WINDOW_CLAMP, LARGEST_BUFFER);
	}
	set_option(to, SOL_SOCKET, SO_RCVLOWAT, LARGEST_BUFFER);
}

static void close_window(int to, const struct window *window)
{
	if (!window->open)
		return;
	set_option(to, SOL_SOCKET, SO_RCVLOWAT, window->low_mark);
	if (window->locked & 2)
		set_option(to, SOL_SOCKET, SO_RCVBUF, window->size / 2);
}

/* Acknowledges what has come and tells the sender of the room there is. Looking does that. */
static void acknowledge(int to)
{
	char byte;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	set_option(to, IPPROTO_TCP, TCP_QUICKACK, 2); /* even: at once, and not from now on */
	if (ask(to, SIOCINQ) > 0)
		rt_sys_recvmsg(to, &message, MSG_PEEK | MSG_DONTWAIT);
}

bool rt_descriptor_settle(const struct descriptor *from, const struct descriptor *to)
{
	struct window window = {0};
	int left = on_its_way(from, to);
	int64_t progress = now_ns();
	for (int rounds = 0; left > 0 && now_ns() - progress < SETTLE_NS; rounds++) {
		push(from->number);
		acknowledge(to->number);
		if (rounds > 0)
			open_window(to->number, &window);
		if (rounds > 4)
			rt_syscall(SYS_sched_yield); /* the kernel delivers in a thread of its own when it is
							busy */
		int now = on_its_way(from, to);
		if (now != left)
			progress = now_ns();
		left = now;
	}
	close_window(to->number, &window);
	return left == 0;
}
