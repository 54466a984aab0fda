/*
 * What sockets have received and the program has not read; in the stop only. Nothing is consumed:
 * messages are peeked at one after the other by SO_PEEK_OFF, which is set back; of a TCP stream the
 * whole queue is peeked at once. An error that waits to be told would be, by looking where nothing
 * is to be read, or at a message: so that is not done.
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

/* One call's worth at the peek offset, as (a part of) a message. 1: there may be more, 0: no more. */
static int peek(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer,
		int *empty, size_t *bytes)
{
	char address[ADDRESS_ROOM];
	bool stream = rt_descriptor_is_stream(descriptor);
	struct iovec part = {.iov_base = table->text.bytes + ADDRESS_ROOM, .iov_len = PEEK_CHUNK};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (!stream) {
		message.msg_name = address;
		message.msg_namelen = sizeof(address);
	}
	ssize_t length = rt_sys_recvmsg(descriptor->number, &message, MSG_PEEK | MSG_DONTWAIT);
	if (length < 0 || (length == 0 && stream))
		return length == 0 || length == -EAGAIN ? 0 : (int)length;
	if (message.msg_flags & MSG_TRUNC)
		return rt_descriptor_lost(descriptor,
					  "cannot be restored: an unread message of more than 256 KiB");
	if (descriptor->family == AF_UNIX && (message.msg_flags & MSG_CTRUNC))
		descriptor->reason =
			"will be restored without the descriptors or credentials in its unread messages";
	char *start = part.iov_base;
	if (message.msg_namelen <= sizeof(address)) {
		start -= message.msg_namelen;
		memcpy(start, address, message.msg_namelen);
	}
	size_t address_length = (size_t)((char *)part.iov_base - start);
	rt_descriptor_put_message(writer, start, (size_t)length + address_length, address_length);
	*bytes += (size_t)length;
	*empty = length == 0 ? *empty + 1 : 0;
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

static int put_messages(struct descriptor_table *table, struct descriptor *descriptor,
			struct manifest_writer *writer)
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
		return rt_descriptor_lost(descriptor,
					  "cannot be restored: its unread contents cannot be copied");
	if (descriptor->type == SOCK_STREAM)
		result = put_unix_stream(table, descriptor, writer);
	while (result > 0)
		result = peek(table, descriptor, writer, &empty, &bytes);
	rt_sys_setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &old, sizeof(old));
	return result;
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

static int put_stream(struct descriptor_table *table, struct descriptor *descriptor,
		      struct manifest_writer *writer)
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
	return tcp ? put_stream(table, descriptor, writer) : put_messages(table, descriptor, writer);
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
	case RT_TCP_LAST_ACK:
		return 0;
	default:
		return 1;
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
