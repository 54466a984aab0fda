/*
 * Who is connected to whom within the process.
 *
 * The two ends of a TCP connection have each other's addresses. Unix sockets have none as a rule:
 * the kernel is asked by sock_diag(7), also which connections wait in the queue of a listening one.
 */
#include <asm/ioctls.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <string.h>

#include "descriptor/table.h"

#define POLL_CHUNK 256 /* poll() refuses more than the limit of open files */
#define DIAG_BUFFER (64 * 1024)
#define ALL_STATES 0xffffffffU

/* ---- what is ready ---- */

static bool is_polled(const struct descriptor *descriptor)
{
	return S_ISSOCK(descriptor->mode) && !(descriptor->flags & O_PATH);
}

/* Polls `count` sockets; where that is refused nothing is known of them. */
static void poll_chunk(struct pollfd *polls, size_t count)
{
	struct timespec now = {0};
	if (rt_syscall(SYS_ppoll, polls, count, &now, NULL, 8) >= 0)
		return;
	for (size_t i = 0; i < count; i++)
		polls[i].revents = -1;
}

int rt_descriptor_poll_sockets(struct descriptor_table *table)
{
	size_t count = 0;
	if (rt_descriptor_reserve(&table->polls, (table->count + 1) * sizeof(struct pollfd)) < 0)
		return -ENOMEM;
	struct pollfd *polls = (struct pollfd *)(void *)table->polls.bytes;
	for (size_t i = 0; i < table->count; i++)
		if (is_polled(&table->entries[i]))
			polls[count++] =
				(struct pollfd){.fd = table->entries[i].number, .events = POLLIN | POLLPRI | POLLRDHUP};
	for (size_t i = 0; i < count; i += POLL_CHUNK)
		poll_chunk(polls + i, count - i < POLL_CHUNK ? count - i : POLL_CHUNK);
	for (size_t i = 0, at = 0; i < table->count; i++)
		if (is_polled(&table->entries[i]))
			table->entries[i].ready = polls[at++].revents;
	return 0;
}

/* ---- TCP ---- */

/* An address as both families write it. */
struct endpoint {
	uint8_t host[16];
	uint16_t port;
};

static struct endpoint endpoint_of(const struct sockaddr_storage *address)
{
	struct endpoint endpoint = {.host = {[10] = 255, [11] = 255}};
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;
	if (address->ss_family == AF_INET) {
		memcpy(endpoint.host + 12, &v4->sin_addr, 4);
		endpoint.port = v4->sin_port;
	} else {
		memcpy(endpoint.host, &v6->sin6_addr, 16);
		endpoint.port = v6->sin6_port;
	}
	return endpoint;
}

static uint64_t hash_endpoint(uint64_t hash, const struct endpoint *endpoint)
{
	for (size_t i = 0; i < sizeof(endpoint->host); i++)
		hash = (hash ^ endpoint->host[i]) * 0x100000001b3UL; /* FNV-1a */
	hash = (hash ^ (endpoint->port & 0xff)) * 0x100000001b3UL;
	return (hash ^ (endpoint->port >> 8)) * 0x100000001b3UL;
}

void rt_descriptor_set_key(struct descriptor *descriptor, const struct socket_settings *settings)
{
	descriptor->address_key = descriptor->mirrored_key = 0;
	if (settings->socket.local_length == 0 || settings->socket.peer_length == 0)
		return;
	const struct endpoint local = endpoint_of(&settings->local), peer = endpoint_of(&settings->peer);
	descriptor->address_key = hash_endpoint(hash_endpoint(0xcbf29ce484222325UL, &local), &peer);
	descriptor->mirrored_key = hash_endpoint(hash_endpoint(0xcbf29ce484222325UL, &peer), &local);
}

static bool is_tcp_connection(const struct descriptor *descriptor)
{
	return descriptor->kind == DESCRIPTOR_CONNECTION && descriptor->shared_with < 0 &&
	       rt_descriptor_is_tcp(descriptor) && descriptor->address_key != 0;
}

/* A hash table of the connections by their keys; each slot has one more than the index. */
static int fill_slots(struct descriptor_table *table, size_t mask)
{
	if (rt_descriptor_reserve(&table->connections, (mask + 1) * sizeof(uint32_t)) < 0)
		return -ENOMEM;
	uint32_t *slots = (uint32_t *)(void *)table->connections.bytes;
	memset(slots, 0, (mask + 1) * sizeof(uint32_t));
	for (size_t i = 0; i < table->count; i++) {
		if (!is_tcp_connection(&table->entries[i]))
			continue;
		size_t at = table->entries[i].address_key & mask;
		while (slots[at] != 0)
			at = (at + 1) & mask;
		slots[at] = (uint32_t)i + 1;
	}
	return 0;
}

static uint64_t find_mirrored(const struct descriptor_table *table, const struct descriptor *descriptor, size_t mask)
{
	const uint32_t *slots = (const uint32_t *)(const void *)table->connections.bytes;
	for (size_t at = descriptor->mirrored_key & mask; slots[at] != 0; at = (at + 1) & mask) {
		const struct descriptor *other = &table->entries[slots[at] - 1];
		if (other->address_key == descriptor->mirrored_key && other != descriptor)
			return other->inode;
	}
	return 0;
}

static int read_keys(struct descriptor_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->kind == DESCRIPTOR_CONNECTION && descriptor->shared_with < 0 &&
		    rt_descriptor_get_settings(table, descriptor) == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int match_tcp(struct descriptor_table *table)
{
	size_t mask = 63;
	while (mask < 2 * table->count)
		mask = 2 * mask + 1;
	if (read_keys(table) < 0 || fill_slots(table, mask) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < table->count; i++)
		if (is_tcp_connection(&table->entries[i]))
			table->entries[i].peer_inode = find_mirrored(table, &table->entries[i], mask);
	table->connections_stale = false;
	return 0;
}

/* Whether a connection to `peer` goes to the listening socket. */
static bool leads_to(const struct sockaddr_storage *peer, const struct socket_settings *listening)
{
	static const struct endpoint any = {.host = {[10] = 255, [11] = 255}}, any6;
	const struct endpoint to = endpoint_of(peer), at = endpoint_of(&listening->local);
	if (to.port != at.port)
		return false;
	return memcmp(to.host, at.host, sizeof(to.host)) == 0 || memcmp(any.host, at.host, sizeof(to.host)) == 0 ||
	       memcmp(any6.host, at.host, sizeof(to.host)) == 0;
}

/* What waits in the queue of a listening TCP socket is where a connected one has unacknowledged segments. */
static bool has_waiting(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	return rt_sys_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) >= 0 && info.tcpi_unacked > 0;
}

static bool has_sent(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);
	return rt_sys_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0 || info.tcpi_bytes_sent > 0 ||
	       info.tcpi_notsent_bytes > 0;
}

static void wait_for(struct descriptor *descriptor, const struct descriptor *listening, uint32_t place, bool sent)
{
	descriptor->waits_in_vain = sent;
	if (sent)
		return;
	descriptor->waiting = true;
	descriptor->peer_inode = listening->inode;
	descriptor->place = place;
}

/* The connections to a listening socket that has some waiting, and whose other end nobody has. */
static void find_waiting_tcp(struct descriptor_table *table, struct descriptor *listening)
{
	const struct socket_settings *settings = rt_descriptor_get_settings(table, listening);
	if (settings == NULL || !has_waiting(listening->number))
		return;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (!is_tcp_connection(descriptor) || descriptor->peer_inode != 0 || descriptor->ready < 0 ||
		    (descriptor->ready & POLLRDHUP))
			continue;
		const struct socket_settings *own = rt_descriptor_get_settings(table, descriptor);
		settings = rt_descriptor_get_settings(table, listening);
		if (own != NULL && settings != NULL && leads_to(&own->peer, settings))
			wait_for(descriptor, listening, (uint32_t)i, has_sent(descriptor->number));
	}
}

/* ---- unix ---- */

struct diag_request {
	struct nlmsghdr header;
	struct unix_diag_req question;
};

/* The kernel's answer about one unix socket in table->text, its length; or -errno. */
static int ask_diag(struct descriptor_table *table, int diag, uint64_t inode, uint32_t show)
{
	struct diag_request request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST},
		.question = {.sdiag_family = AF_UNIX,
			     .udiag_states = ALL_STATES,
			     .udiag_ino = (uint32_t)inode,
			     .udiag_show = show,
			     .udiag_cookie = {~0U, ~0U}},
	};
	struct iovec part = {.iov_base = table->text.bytes, .iov_len = DIAG_BUFFER};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (rt_sys_write(diag, &request, sizeof(request)) < 0)
		return -EIO;
	ssize_t length = rt_sys_recvmsg(diag, &message, MSG_DONTWAIT);
	return length < (ssize_t)sizeof(struct nlmsghdr) ? -EIO : (int)length;
}

/* The attribute of that answer, NULL: it has none. */
static const void *find_attribute(const struct descriptor_table *table, int length, uint16_t type, size_t *size)
{
	const struct nlmsghdr *header = (const void *)table->text.bytes;
	if (length < (int)NLMSG_LENGTH(sizeof(struct unix_diag_msg)) || header->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return NULL;
	size_t end = header->nlmsg_len < (size_t)length ? header->nlmsg_len : (size_t)length;
	for (size_t at = NLMSG_LENGTH(NLMSG_ALIGN(sizeof(struct unix_diag_msg))); at + sizeof(struct nlattr) <= end;) {
		const struct nlattr *attribute = (const void *)(table->text.bytes + at);
		if (attribute->nla_len < sizeof(*attribute) || at + attribute->nla_len > end)
			break;
		if (attribute->nla_type == type) {
			*size = attribute->nla_len - sizeof(*attribute);
			return attribute + 1;
		}
		at += NLA_ALIGN(attribute->nla_len);
	}
	return NULL;
}

static bool is_unix_connection(const struct descriptor *descriptor)
{
	return descriptor->kind == DESCRIPTOR_CONNECTION && descriptor->family == AF_UNIX &&
	       descriptor->shared_with < 0;
}

/* A connection that has hung up has no other end; one whose other end has no inode is not accepted yet. */
static bool is_open_question(const struct descriptor *descriptor)
{
	return is_unix_connection(descriptor) && !descriptor->peer_known &&
	       (descriptor->ready < 0 || !(descriptor->ready & POLLHUP));
}

static uint64_t get_peer(struct descriptor_table *table, int diag, uint64_t inode)
{
	size_t size;
	int length = ask_diag(table, diag, inode, UDIAG_SHOW_PEER);
	const uint32_t *peer = length < 0 ? NULL : find_attribute(table, length, UNIX_DIAG_PEER, &size);
	return peer != NULL && size >= sizeof(*peer) ? *peer : 0;
}

static void ask_peer(struct descriptor_table *table, int diag, struct descriptor *descriptor)
{
	descriptor->peer_inode = get_peer(table, diag, descriptor->inode);
	descriptor->peer_known = descriptor->peer_inode != 0;
}

uint64_t rt_descriptor_peer_of(struct descriptor_table *table, uint64_t inode)
{
	if (rt_descriptor_reserve(&table->text, DIAG_BUFFER) < 0)
		return 0;
	int diag = rt_descriptor_open_socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag < 0)
		return 0;
	uint64_t peer = get_peer(table, diag, inode);
	rt_sys_close(diag);
	return peer;
}

static void set_waiting_unix(struct descriptor_table *table, const struct descriptor *listening, uint32_t inode,
			     uint32_t place)
{
	size_t first;
	if (inode == 0 || rt_descriptor_same_inode(table, listening->device, inode, &first) == 0)
		return;
	struct descriptor *descriptor = &table->entries[table->order[first]];
	int sent = 0;
	if (is_open_question(descriptor) && rt_sys_ioctl(descriptor->number, SIOCOUTQ, &sent) == 0)
		wait_for(descriptor, listening, place, sent > 0);
}

static void find_waiting_unix(struct descriptor_table *table, int diag, const struct descriptor *listening)
{
	size_t size;
	int length = ask_diag(table, diag, listening->inode, UDIAG_SHOW_ICONS);
	const uint32_t *waiting = length < 0 ? NULL : find_attribute(table, length, UNIX_DIAG_ICONS, &size);
	for (size_t i = 0; waiting != NULL && i < size / sizeof(*waiting); i++)
		set_waiting_unix(table, listening, waiting[i], (uint32_t)i);
}

/* Only sockets that are new, or not accepted yet, are asked about. */
static int match_unix(struct descriptor_table *table)
{
	bool unknown = false, waiting = false;
	for (size_t i = 0; i < table->count && !unknown; i++)
		unknown = is_open_question(&table->entries[i]);
	if (!unknown)
		return 0;
	if (rt_descriptor_reserve(&table->text, DIAG_BUFFER) < 0)
		return -ENOMEM;
	int diag = rt_descriptor_open_socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (diag < 0)
		return diag == -EMFILE || diag == -ENFILE ? diag : 0;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (!is_open_question(descriptor))
			continue;
		ask_peer(table, diag, descriptor);
		waiting |= !descriptor->peer_known;
	}
	for (size_t i = 0; i < table->count && waiting; i++)
		if (table->entries[i].kind == DESCRIPTOR_LISTENING && table->entries[i].family == AF_UNIX)
			find_waiting_unix(table, diag, &table->entries[i]);
	rt_sys_close(diag);
	return 0;
}

/* ---- all ---- */

static void forget_waiting(struct descriptor_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->waiting)
			descriptor->peer_inode = 0;
		descriptor->waiting = descriptor->waits_in_vain = false;
	}
}

int rt_descriptor_find_peers(struct descriptor_table *table)
{
	int result = 0;
	forget_waiting(table);
	if (table->connections_stale)
		result = match_tcp(table);
	if (result < 0 || (result = match_unix(table)) < 0)
		return result;
	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].kind == DESCRIPTOR_LISTENING && rt_descriptor_is_tcp(&table->entries[i]))
			find_waiting_tcp(table, &table->entries[i]);
	return rt_descriptor_find_destinations(table);
}
