/*
 * Sockets: listening, unconnected, one end of a socketpair, or connected.
 *
 * What a socket is can change without a trace in fstat() (bind, listen, connect), so all but
 * connections are asked again in the stop. One poll() of all tells which connections have
 * anything that must be looked at: an idle one costs next to nothing.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "descriptor/table.h"

#define UNIX_BACKLOG 4096     /* the kernel does not tell a unix socket's */
#define SETTINGS_REFRESHED 16 /* sockets asked again by each prepare, see options.c */

uint8_t rt_descriptor_tcp_state(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	return rt_sys_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ? RT_TCP_CLOSE : info.tcpi_state;
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

static bool is_connecting(uint8_t state)
{
	return state == RT_TCP_SYN_SENT || state == RT_TCP_SYN_RECEIVED;
}

static uint32_t recognise_stream(struct descriptor *descriptor)
{
	int fd = descriptor->number, accepts;
	bool named;
	descriptor->connecting = false;
	if (rt_descriptor_get_option(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts) && accepts)
		return DESCRIPTOR_LISTENING;
	if (is_connected(fd, &named))
		return DESCRIPTOR_CONNECTION;
	/* Being connected, or a connection that is over: POLLRDHUP tells that from a fresh socket. */
	uint8_t state = rt_descriptor_is_tcp(descriptor) ? rt_descriptor_tcp_state(fd) : RT_TCP_CLOSE;
	descriptor->connecting = is_connecting(state);
	if (state != RT_TCP_CLOSE)
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

static uint32_t recognise_unix(struct descriptor *descriptor)
{
	uint64_t other = rt_descriptor_pair_of(descriptor->inode);
	if (other == 0)
		return rt_descriptor_is_stream(descriptor) ? recognise_stream(descriptor)
							   : recognise_datagram(descriptor);
	descriptor->peer_inode = other;
	return DESCRIPTOR_PAIR;
}

static uint32_t recognise_family(struct descriptor *descriptor)
{
	switch (descriptor->family) {
	case AF_UNIX: return recognise_unix(descriptor);
	case AF_INET:
	case AF_INET6:
		if (rt_descriptor_is_tcp(descriptor))
			return recognise_stream(descriptor);
		if (descriptor->type == SOCK_DGRAM)
			return recognise_datagram(descriptor);
		descriptor->reason = "cannot be restored: neither TCP nor UDP";
		return DESCRIPTOR_LOST;
	case AF_NETLINK: return DESCRIPTOR_UNCONNECTED;
	default: descriptor->reason = "cannot be restored: a socket of this family"; return DESCRIPTOR_LOST;
	}
}

static uint32_t ask(int fd, int option)
{
	int value;
	return rt_descriptor_get_option(fd, SOL_SOCKET, option, &value) ? (uint32_t)value : 0;
}

void rt_descriptor_recognise_socket(struct descriptor_table *table, struct descriptor *descriptor)
{
	(void)table;
	if (descriptor->fresh) {
		descriptor->family = ask(descriptor->number, SO_DOMAIN);
		descriptor->type = ask(descriptor->number, SO_TYPE);
		descriptor->protocol = ask(descriptor->number, SO_PROTOCOL);
	}
	descriptor->kind = recognise_family(descriptor);
}

/* ---- its addresses ---- */

static bool is_bound(const struct sockaddr_storage *address, socklen_t length)
{
	switch (address->ss_family) {
	case AF_UNIX: return length > sizeof(sa_family_t);
	case AF_INET:
	case AF_INET6: /* the port is at the same place in both */
		return ((const struct sockaddr_in *)(const void *)address)->sin_port != 0;
	default: return true;
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
		addresses->local_length = rt_descriptor_address_length(&addresses->local, length);
	length = sizeof(addresses->peer);
	if (descriptor->family != AF_NETLINK && descriptor->kind != DESCRIPTOR_LISTENING &&
	    rt_sys_getpeername(descriptor->number, &addresses->peer, &length) == 0 && length <= sizeof(addresses->peer))
		addresses->peer_length = rt_descriptor_address_length(&addresses->peer, length);
}

static bool same_addresses(const struct addresses *addresses, const struct socket_settings *settings)
{
	return addresses->local_length == settings->socket.local_length &&
	       addresses->peer_length == settings->socket.peer_length &&
	       memcmp(&addresses->local, &settings->local, addresses->local_length) == 0 &&
	       memcmp(&addresses->peer, &settings->peer, addresses->peer_length) == 0;
}

static void set_addresses(struct socket_settings *settings, const struct addresses *addresses)
{
	settings->local = addresses->local;
	settings->peer = addresses->peer;
	settings->socket.local_length = addresses->local_length;
	settings->socket.peer_length = addresses->peer_length;
	settings->socket.path_mode = path_mode(&addresses->local, addresses->local_length);
}

/* A listening TCP socket shows its backlog where a connected one shows selective acknowledgements. */
static int32_t get_backlog(const struct descriptor *descriptor)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	if (!rt_descriptor_is_tcp(descriptor) ||
	    rt_sys_getsockopt(descriptor->number, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 ||
	    info.tcpi_state != RT_TCP_LISTEN)
		return UNIX_BACKLOG;
	return (int32_t)info.tcpi_sacked;
}

/* ---- what is kept of it ---- */

static struct socket_settings *all_settings(const struct descriptor_table *table)
{
	return (struct socket_settings *)(void *)table->settings[table->settings_block].bytes;
}

static void read_settings(struct descriptor_table *table, struct descriptor *descriptor,
			  struct socket_settings *settings)
{
	struct addresses addresses;
	settings->socket = (struct descriptor_socket){
		.family = descriptor->family,
		.type = descriptor->type,
		.protocol = descriptor->protocol,
		.membership_length = settings->socket.membership_length, /* to compare with */
	};
	rt_descriptor_read_memberships(table, descriptor, settings);
	settings->socket.option_count = rt_descriptor_get_options(descriptor, settings->options);
	if (descriptor->kind == DESCRIPTOR_PAIR)
		return;
	get_addresses(descriptor, &addresses);
	set_addresses(settings, &addresses);
	if (descriptor->kind == DESCRIPTOR_LISTENING)
		settings->socket.backlog = get_backlog(descriptor);
	if (descriptor->kind == DESCRIPTOR_CONNECTION && rt_descriptor_is_tcp(descriptor))
		rt_descriptor_set_key(descriptor, settings);
}

static bool settings_hold(const struct descriptor *descriptor)
{
	return descriptor->settings_kind == descriptor->kind &&
	       !rt_descriptor_options_changed(descriptor->number, descriptor->changes);
}

struct socket_settings *rt_descriptor_known_settings(const struct descriptor_table *table,
						     const struct descriptor *descriptor)
{
	return descriptor->settings != 0 ? &all_settings(table)[descriptor->settings - 1] : NULL;
}

struct socket_settings *rt_descriptor_get_settings(struct descriptor_table *table, struct descriptor *descriptor)
{
	struct descriptor_block *block = &table->settings[table->settings_block];
	if (descriptor->settings == 0) {
		if (rt_descriptor_reserve(block, (table->settings_used + 1) * sizeof(struct socket_settings)) < 0)
			return NULL;
		descriptor->settings = (uint32_t)++table->settings_used;
		descriptor->settings_kind = 0;
		all_settings(table)[descriptor->settings - 1].socket.membership_length = 0;
	}
	struct socket_settings *settings = &all_settings(table)[descriptor->settings - 1];
	if (!settings_hold(descriptor)) {
		descriptor->settings_kind = descriptor->kind;
		descriptor->changes = rt_descriptor_option_changes(descriptor->number);
		read_settings(table, descriptor, settings);
	}
	return settings;
}

/* Copies what is in use to the other block when most of it is of sockets that are gone. */
static int compact_settings(struct descriptor_table *table)
{
	struct socket_settings *old = all_settings(table);
	struct descriptor_block *block = &table->settings[!table->settings_block];
	size_t used = 0;
	if (table->settings_used < 2 * table->count + 64)
		return 0;
	if (rt_descriptor_reserve(block, (table->count + 1) * sizeof(*old)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->settings == 0)
			continue;
		((struct socket_settings *)(void *)block->bytes)[used] = old[descriptor->settings - 1];
		descriptor->settings = (uint32_t)++used;
	}
	table->settings_block = !table->settings_block;
	table->settings_used = used;
	return 0;
}

static bool has_settings(const struct descriptor *descriptor)
{
	return (descriptor->kind == DESCRIPTOR_LISTENING || descriptor->kind == DESCRIPTOR_UNCONNECTED ||
		descriptor->kind == DESCRIPTOR_PAIR || descriptor->kind == DESCRIPTOR_CONNECTION) &&
	       descriptor->shared_with < 0;
}

static void forget_some_settings(struct descriptor_table *table)
{
	for (size_t i = 0; i < SETTINGS_REFRESHED && i < table->count; i++) {
		if (table->settings_next >= table->count)
			table->settings_next = 0;
		table->entries[table->settings_next++].settings_kind = 0;
	}
}

int rt_descriptor_gather_sockets(struct descriptor_table *table)
{
	int result = compact_settings(table);
	if (result < 0 || (result = rt_descriptor_compact_memberships(table)) < 0)
		return result;
	forget_some_settings(table);
	for (size_t i = 0; i < table->count; i++)
		if (has_settings(&table->entries[i]) && rt_descriptor_get_settings(table, &table->entries[i]) == NULL)
			return -ENOMEM;
	return 0;
}

/* ---- its records ---- */

static void put_settings(const struct descriptor_table *table, struct manifest_writer *writer,
			 const struct socket_settings *settings, const struct descriptor_socket *socket)
{
	rt_manifest_put(writer, socket, sizeof(*socket));
	rt_manifest_put(writer, settings->options, socket->option_count * sizeof(settings->options[0]));
	rt_manifest_put(writer, &settings->local, socket->local_length);
	rt_descriptor_pad(writer);
	rt_manifest_put(writer, &settings->peer, socket->peer_length);
	rt_descriptor_pad(writer);
	rt_manifest_put(writer, rt_descriptor_memberships(table, settings), socket->membership_length);
}

/* The address of a socket that listens stays what it is. */
int rt_descriptor_capture_socket(struct descriptor_table *table, struct descriptor *descriptor,
				 struct manifest_writer *writer)
{
	struct addresses addresses;
	struct socket_settings *settings = rt_descriptor_get_settings(table, descriptor);
	if (settings == NULL)
		return -ENOMEM;
	if (descriptor->kind == DESCRIPTOR_UNCONNECTED) {
		get_addresses(descriptor, &addresses);
		if (!same_addresses(&addresses, settings))
			set_addresses(settings, &addresses);
	}
	put_settings(table, writer, settings, &settings->socket);
	if (descriptor->family != AF_NETLINK)
		return descriptor->type == SOCK_DGRAM ? rt_descriptor_put_unread(table, descriptor, writer) : 0;
	rt_descriptor_put_answer(descriptor, writer);
	return 0;
}

int rt_descriptor_capture_pair(struct descriptor_table *table, struct descriptor *descriptor,
			       struct manifest_writer *writer)
{
	const struct socket_settings *settings = rt_descriptor_get_settings(table, descriptor);
	size_t first;
	if (settings == NULL)
		return -ENOMEM;
	struct descriptor_socket socket = settings->socket;
	if (rt_descriptor_same_inode(table, descriptor->device, descriptor->peer_inode, &first) > 0)
		socket.peer_inode = descriptor->peer_inode;
	if (descriptor->ready >= 0 && (descriptor->ready & POLLRDHUP))
		socket.flags |= SOCKET_READ_CLOSED;
	put_settings(table, writer, settings, &socket);
	return rt_descriptor_put_unread(table, descriptor, writer);
}

static bool has_closed_writing(uint8_t state)
{
	return state == RT_TCP_FIN_WAIT1 || state == RT_TCP_FIN_WAIT2 || state == RT_TCP_CLOSING ||
	       state == RT_TCP_LAST_ACK || state == RT_TCP_TIME_WAIT;
}

/* The other end in the process of a connection, NULL: there is none. */
static const struct descriptor *other_end(const struct descriptor_table *table, const struct descriptor *descriptor)
{
	size_t first;
	if (descriptor->peer_inode == 0 || descriptor->waiting ||
	    rt_descriptor_same_inode(table, descriptor->device, descriptor->peer_inode, &first) == 0)
		return NULL;
	return &table->entries[table->order[first]];
}

int rt_descriptor_capture_connection(struct descriptor_table *table, struct descriptor *descriptor,
				     struct manifest_writer *writer)
{
	const struct socket_settings *settings = rt_descriptor_get_settings(table, descriptor);
	if (settings == NULL)
		return -ENOMEM;
	struct descriptor_socket socket = settings->socket;
	const struct descriptor *other = other_end(table, descriptor);
	bool tcp = rt_descriptor_is_tcp(descriptor);
	if (descriptor->ready < 0 || (descriptor->ready & POLLRDHUP))
		socket.flags |= SOCKET_READ_CLOSED;
	if (tcp && (other != NULL || descriptor->waiting) &&
	    has_closed_writing(rt_descriptor_tcp_state(descriptor->number)))
		socket.flags |= SOCKET_WRITE_CLOSED;
	if (descriptor->connecting)
		socket.flags |= SOCKET_CONNECTING;
	if (descriptor->waits_in_vain)
		descriptor->reason = "will read as closed by its peer after a restore: what it has sent waits for "
				     "accept()";
	if (descriptor->waiting) {
		socket.flags |= SOCKET_WAITING;
		socket.place = descriptor->place;
		socket.peer_inode = descriptor->peer_inode;
	} else if (other != NULL && tcp && !rt_descriptor_settle(other, descriptor)) {
		descriptor->reason = "will read as closed by its peer after a restore: more is on its way than "
				     "can be copied";
	} else if (other != NULL) {
		socket.peer_inode = descriptor->peer_inode;
	}
	put_settings(table, writer, settings, &socket);
	return rt_descriptor_put_unread(table, descriptor, writer);
}
