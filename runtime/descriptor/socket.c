/*
 * Sockets: listening, unconnected, one end of a socketpair, or connected to the outside.
 *
 * What a socket is can change without a trace in fstat() (bind, listen, connect), so all but
 * connections are asked again in the stop. Options take some thirty questions: they are read
 * before the stop, and in it only for a socket that is new or has changed; an option set in
 * between is in the next checkpoint. Of a connection nothing is needed: it will read as closed
 * by its peer.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>

#include "descriptor/table.h"

#define PEEK_CHUNK (256 * 1024)
#define MOST_EMPTY_MESSAGES 4096 /* more datagrams of no bytes in a row are not believed */
#define UNIX_BACKLOG 4096        /* the kernel does not tell a unix socket's */
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14: which buffer sizes were set by hand */
#endif
#define SEND_SIZE_SET 1 /* SOCK_SNDBUF_LOCK */
#define RECEIVE_SIZE_SET 2
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define STATE_LISTEN 10 /* TCP_LISTEN; netinet/tcp.h's names differ between C libraries */
#define STATE_CLOSE 7

#define X(name, level, option) {level, option},
static const struct {
	int level, option;
} options[DESCRIPTOR_OPTIONS] = {DESCRIPTOR_SOCKET_OPTIONS(X)};
#undef X

static bool get_option(int fd, int level, int option, int *value)
{
	socklen_t length = sizeof(*value);
	*value = 0;
	return rt_sys_getsockopt(fd, level, option, value, &length) >= 0;
}

static bool is_stream(const struct descriptor *descriptor)
{
	return descriptor->type == SOCK_STREAM || descriptor->type == SOCK_SEQPACKET;
}

static bool is_tcp(const struct descriptor *descriptor)
{
	return (descriptor->family == AF_INET || descriptor->family == AF_INET6) &&
	       (descriptor->protocol == IPPROTO_TCP || descriptor->protocol == IPPROTO_MPTCP);
}

static uint8_t tcp_state(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	return rt_sys_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ? STATE_CLOSE
										: info.tcpi_state;
}

/* A peer that is connected; `named`: it has an address one could connect to again. */
static bool is_connected(int fd, bool *named)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	if (rt_sys_getpeername(fd, &address, &length) < 0)
		return false;
	*named = length > sizeof(sa_family_t);
	return true;
}

/* ---- what it is ---- */

static uint32_t recognise_stream(const struct descriptor *descriptor)
{
	int fd = descriptor->number, accepts;
	bool named;
	if (get_option(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts) && accepts)
		return DESCRIPTOR_LISTENING;
	if (is_connected(fd, &named))
		return DESCRIPTOR_CONNECTION;
	/* Being connected, or a connection that is over: POLLRDHUP tells that from a fresh socket. */
	if (is_tcp(descriptor) && tcp_state(fd) != STATE_CLOSE)
		return DESCRIPTOR_CONNECTION;
	return rt_sys_poll_now(fd, POLLRDHUP) & POLLRDHUP ? DESCRIPTOR_CONNECTION : DESCRIPTOR_UNCONNECTED;
}

static uint32_t recognise_datagram(const struct descriptor *descriptor)
{
	bool named = true;
	if (descriptor->family == AF_UNIX && is_connected(descriptor->number, &named) && !named)
		return DESCRIPTOR_CONNECTION; /* half of a socketpair() */
	return DESCRIPTOR_UNCONNECTED;
}

static uint32_t recognise_family(struct descriptor *descriptor)
{
	switch (descriptor->family) {
	case AF_UNIX:
		descriptor->peer_inode = rt_descriptor_pair_of(descriptor->inode);
		if (descriptor->peer_inode != 0)
			return DESCRIPTOR_PAIR;
		return is_stream(descriptor) ? recognise_stream(descriptor) : recognise_datagram(descriptor);
	case AF_INET:
	case AF_INET6:
		if (is_tcp(descriptor))
			return recognise_stream(descriptor);
		if (descriptor->type == SOCK_DGRAM)
			return recognise_datagram(descriptor);
		descriptor->reason = "cannot be restored: neither TCP nor UDP";
		return DESCRIPTOR_LOST;
	case AF_NETLINK:
		return DESCRIPTOR_UNCONNECTED;
	default:
		descriptor->reason = "cannot be restored: a socket of this family";
		return DESCRIPTOR_LOST;
	}
}

void rt_descriptor_recognise_socket(struct descriptor_table *table, struct descriptor *descriptor)
{
	int value;
	(void)table;
	if (descriptor->fresh) {
		descriptor->family =
			get_option(descriptor->number, SOL_SOCKET, SO_DOMAIN, &value) ? (uint32_t)value : 0;
		descriptor->type =
			get_option(descriptor->number, SOL_SOCKET, SO_TYPE, &value) ? (uint32_t)value : 0;
		descriptor->protocol =
			get_option(descriptor->number, SOL_SOCKET, SO_PROTOCOL, &value) ? (uint32_t)value : 0;
	}
	descriptor->kind = recognise_family(descriptor);
}

/* ---- its settings ---- */

static bool level_applies(const struct descriptor *descriptor, int level)
{
	switch (level) {
	case SOL_SOCKET:
		return true;
	case IPPROTO_TCP:
		return is_tcp(descriptor);
	case IPPROTO_IP:
		return descriptor->family == AF_INET;
	default:
		return descriptor->family == AF_INET6;
	}
}

static void set_buffer_size(struct descriptor_socket *socket, int option, bool by_hand)
{
	/* The kernel doubles what it is given. One that sizes itself is left alone. */
	socket->option[option] /= 2;
	if (!by_hand)
		socket->option_set &= ~(1U << option);
}

static void get_options(const struct descriptor *descriptor, struct descriptor_socket *socket)
{
	int fd = descriptor->number, locked;
	for (int i = 0; i < DESCRIPTOR_OPTIONS; i++)
		if (level_applies(descriptor, options[i].level) &&
		    get_option(fd, options[i].level, options[i].option, &socket->option[i]))
			socket->option_set |= 1U << i;
	if (!get_option(fd, SOL_SOCKET, SO_BUF_LOCK, &locked))
		locked = SEND_SIZE_SET | RECEIVE_SIZE_SET;
	set_buffer_size(socket, DESCRIPTOR_OPTION_RCVBUF, locked & RECEIVE_SIZE_SET);
	set_buffer_size(socket, DESCRIPTOR_OPTION_SNDBUF, locked & SEND_SIZE_SET);
}

static int64_t get_timeout(int fd, int option)
{
	struct timeval timeout = {0};
	socklen_t length = sizeof(timeout);
	rt_sys_getsockopt(fd, SOL_SOCKET, option, &timeout, &length);
	return timeout.tv_sec * 1000000L + timeout.tv_usec;
}

static int32_t get_linger(int fd)
{
	struct linger linger = {0};
	socklen_t length = sizeof(linger);
	rt_sys_getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length);
	return linger.l_onoff ? linger.l_linger : -1;
}

static struct descriptor_socket describe_socket(const struct descriptor *descriptor)
{
	struct descriptor_socket socket = {
		.family = descriptor->family,
		.type = descriptor->type,
		.protocol = descriptor->protocol,
		.receive_timeout_us = get_timeout(descriptor->number, SO_RCVTIMEO),
		.send_timeout_us = get_timeout(descriptor->number, SO_SNDTIMEO),
		.linger_seconds = get_linger(descriptor->number),
	};
	get_options(descriptor, &socket);
	return socket;
}

/* ---- its addresses ---- */

static bool is_bound(const struct sockaddr_storage *address, socklen_t length)
{
	switch (address->ss_family) {
	case AF_UNIX:
		return length > sizeof(sa_family_t);
	case AF_INET:
	case AF_INET6: /* the port is at the same place in both */
		return ((const struct sockaddr_in *)(const void *)address)->sin_port != 0;
	default:
		return true;
	}
}

/* The mode of the file a unix socket is bound to; 0: it has none (any more). */
static uint32_t path_mode(const struct sockaddr_storage *address, socklen_t length)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1] = {0};
	size_t start = offsetof(struct sockaddr_un, sun_path);
	struct stat status;
	if (address->ss_family != AF_UNIX || length <= start || length - start >= sizeof(path))
		return 0;
	memcpy(path, (const char *)address + start, length - start);
	if (path[0] == '\0' || rt_sys_fstatat(AT_FDCWD, path, &status, 0) < 0 || !S_ISSOCK(status.st_mode))
		return 0;
	return status.st_mode;
}

/* Where a socket is bound and connected; length 0: it is not. */
struct addresses {
	struct sockaddr_storage local, peer;
	socklen_t local_length, peer_length;
};

static void get_addresses(const struct descriptor *descriptor, struct addresses *addresses)
{
	memset(addresses, 0, sizeof(*addresses));
	socklen_t length = sizeof(addresses->local);
	if (rt_sys_getsockname(descriptor->number, &addresses->local, &length) == 0 &&
	    length <= sizeof(addresses->local) && is_bound(&addresses->local, length))
		addresses->local_length = length;
	length = sizeof(addresses->peer);
	if (descriptor->family != AF_NETLINK && descriptor->kind == DESCRIPTOR_UNCONNECTED &&
	    rt_sys_getpeername(descriptor->number, &addresses->peer, &length) == 0 &&
	    length <= sizeof(addresses->peer))
		addresses->peer_length = length;
}

static bool same_addresses(const struct addresses *addresses, const struct descriptor_socket *socket)
{
	return addresses->local_length == socket->local_length &&
	       addresses->peer_length == socket->peer_length &&
	       memcmp(&addresses->local, socket->local, addresses->local_length) == 0 &&
	       memcmp(&addresses->peer, socket->peer, addresses->peer_length) == 0;
}

static void set_addresses(struct descriptor_socket *socket, const struct addresses *addresses)
{
	memcpy(socket->local, &addresses->local, addresses->local_length);
	memcpy(socket->peer, &addresses->peer, addresses->peer_length);
	socket->local_length = addresses->local_length;
	socket->peer_length = addresses->peer_length;
	socket->path_mode = path_mode(&addresses->local, addresses->local_length);
}

/* A listening TCP socket shows its backlog where a connected one shows selective acknowledgements. */
static int32_t get_backlog(const struct descriptor *descriptor)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	if (!is_tcp(descriptor) ||
	    rt_sys_getsockopt(descriptor->number, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ||
	    info.tcpi_state != STATE_LISTEN)
		return UNIX_BACKLOG;
	return (int32_t)info.tcpi_sacked;
}

/* ---- its records ---- */

int rt_descriptor_capture_connection(struct descriptor_table *table, struct descriptor *descriptor,
				     struct manifest_writer *writer)
{
	const struct descriptor_connection connection = {
		.family = descriptor->family,
		.type = descriptor->type,
		.protocol = descriptor->protocol,
	};
	(void)table;
	rt_manifest_put(writer, &connection, sizeof(connection));
	return 0;
}

/* What is known of a socket, read anew when it was not, or was for another kind. NULL: no memory. */
static struct descriptor_socket *get_settings(struct descriptor_table *table, struct descriptor *descriptor)
{
	struct descriptor_socket *all = (struct descriptor_socket *)(void *)table->settings.bytes;
	if (descriptor->settings != 0 && descriptor->settings_kind == descriptor->kind)
		return &all[descriptor->settings - 1];
	if (rt_descriptor_reserve(&table->settings, (table->settings_used + 1) * sizeof(*all)) < 0)
		return NULL;
	all = (struct descriptor_socket *)(void *)table->settings.bytes;
	descriptor->settings = (uint32_t)++table->settings_used;
	descriptor->settings_kind = descriptor->kind;
	struct descriptor_socket *socket = &all[descriptor->settings - 1];
	*socket = describe_socket(descriptor);
	if (descriptor->kind == DESCRIPTOR_PAIR)
		return socket;
	struct addresses addresses;
	get_addresses(descriptor, &addresses);
	set_addresses(socket, &addresses);
	if (descriptor->kind == DESCRIPTOR_LISTENING)
		socket->backlog = get_backlog(descriptor);
	return socket;
}

int rt_descriptor_gather_sockets(struct descriptor_table *table)
{
	table->settings_used = 0;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		descriptor->settings = 0;
		if ((descriptor->kind == DESCRIPTOR_LISTENING || descriptor->kind == DESCRIPTOR_UNCONNECTED ||
		     descriptor->kind == DESCRIPTOR_PAIR) &&
		    descriptor->shared_with < 0 && get_settings(table, descriptor) == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* The address of a socket that listens stays what it is. */
int rt_descriptor_capture_socket(struct descriptor_table *table, struct descriptor *descriptor,
				 struct manifest_writer *writer)
{
	struct addresses addresses;
	struct descriptor_socket *socket = get_settings(table, descriptor);
	if (socket != NULL && descriptor->kind == DESCRIPTOR_UNCONNECTED) {
		get_addresses(descriptor, &addresses);
		if (!same_addresses(&addresses, socket)) {
			descriptor->settings = 0;
			socket = get_settings(table, descriptor);
		}
	}
	if (socket == NULL)
		return -ENOMEM;
	rt_manifest_put(writer, socket, sizeof(*socket));
	return 0;
}

/* ---- unread contents of a pair ---- */

/* One call's worth at the peek offset, as (a part of) a message. 1: there may be more, 0: no more. */
static int peek(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer,
		int *empty)
{
	struct iovec part = {.iov_base = table->text.bytes, .iov_len = PEEK_CHUNK};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t length = rt_sys_recvmsg(descriptor->number, &message, MSG_PEEK | MSG_DONTWAIT);
	if (length < 0 || (length == 0 && is_stream(descriptor)))
		return length == 0 || length == -EAGAIN ? 0 : (int)length;
	if (message.msg_flags & MSG_TRUNC)
		return rt_descriptor_lost(descriptor,
					  "cannot be restored: an unread message of more than 256 KiB");
	if (message.msg_flags & MSG_CTRUNC)
		descriptor->reason =
			"will be restored without the descriptors or credentials in its unread messages";
	rt_descriptor_put_message(writer, table->text.bytes, (size_t)length);
	*empty = length == 0 ? *empty + 1 : 0;
	return *empty < MOST_EMPTY_MESSAGES;
}

static int put_unread(struct descriptor_table *table, struct descriptor *descriptor,
		      struct manifest_writer *writer)
{
	int fd = descriptor->number, old, start = 0, empty = 0, result;
	if (rt_descriptor_reserve(&table->text, PEEK_CHUNK) < 0)
		return -ENOMEM;
	if (!get_option(fd, SOL_SOCKET, SO_PEEK_OFF, &old) ||
	    rt_sys_setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &start, sizeof(start)) < 0)
		return rt_descriptor_lost(descriptor,
					  "cannot be restored: its unread contents cannot be copied");
	do
		result = peek(table, descriptor, writer, &empty);
	while (result > 0);
	rt_sys_setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &old, sizeof(old));
	return result;
}

int rt_descriptor_capture_pair(struct descriptor_table *table, struct descriptor *descriptor,
			       struct manifest_writer *writer)
{
	const struct descriptor_socket *settings = get_settings(table, descriptor);
	size_t first;
	if (settings == NULL)
		return -ENOMEM;
	struct descriptor_socket socket = *settings;
	if (rt_descriptor_same_inode(table, descriptor->device, descriptor->peer_inode, &first) > 0)
		socket.peer_inode = descriptor->peer_inode;
	int ready = rt_sys_poll_now(descriptor->number, POLLIN | POLLRDHUP);
	socket.read_closed = ready > 0 && (ready & POLLRDHUP) != 0;
	rt_manifest_put(writer, &socket, sizeof(socket));
	return ready > 0 && (ready & POLLIN) ? put_unread(table, descriptor, writer) : 0;
}
