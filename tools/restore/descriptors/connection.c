/*
 * Connections: socket pairs, connections within the program, and to the outside.
 *
 * Both ends of a connection within the program are made and connected to each other, over a
 * listening socket of our own at the address of one of them; the program's listening sockets are
 * bound by then or later, and listen after that. What a socket had not read is sent to it from its
 * other end. A connection to the outside gets another end of ours, which sends what was
 * unread and closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "restore/descriptors/address.h"
#include "restore/descriptors/private.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51 /* Linux 6.3 */
#endif
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif
#define LARGEST_BUFFER (INT_MAX / 4)
#define SMALL_QUEUE 32768    /* bytes that fit into any receive buffer */
#define ROOM_TIMEOUT_MS 1000 /* for the kernel to move what has been sent to where it goes */
#define NS_PER_S 1000000000L

/* The kernel lets the addresses of a connection that has ended be used again after a second
 * (net.ipv4.tcp_tw_reuse_delay). */
#define PATIENCE_NS (3 * NS_PER_S / 2)

static const struct descriptor_socket *socket_of(const struct entry *entry)
{
	return PAYLOAD(entry, struct descriptor_socket);
}

static bool is_network(const struct entry *entry)
{
	return socket_of(entry)->family == AF_INET || socket_of(entry)->family == AF_INET6;
}

struct entry *restore_find_socket(struct restoration *restoration, uint64_t inode, uint32_t kind)
{
	for (size_t i = 0; inode != 0 && i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		if (entry->record.kind == kind && entry->record.shared_with < 0 && entry->record.inode == inode)
			return entry;
	}
	return NULL;
}

/* The other end, when both say so. */
static struct entry *other_end(struct restoration *restoration, const struct entry *entry)
{
	struct entry *other = restore_find_socket(restoration, socket_of(entry)->peer_inode, entry->record.kind);
	if (other == NULL || other == entry || socket_of(other)->peer_inode != entry->record.inode ||
	    socket_of(other)->type != socket_of(entry)->type || is_network(other) != is_network(entry) ||
	    ((socket_of(entry)->flags | socket_of(other)->flags) & SOCKET_WAITING))
		return NULL;
	return other;
}

/* ---- unread contents ---- */

struct sending {
	struct restoration *restoration;
	const struct entry *entry;
	int fd;
	bool stream;
	size_t sent;
	int size, locked; /* of the send buffer, before it was enlarged; size 0: it was not */
};

static void enlarge(struct sending *sending)
{
	int large = LARGEST_BUFFER;
	socklen_t length = sizeof(int);
	if (sending->size != 0)
		return;
	getsockopt(sending->fd, SOL_SOCKET, SO_SNDBUF, &sending->size, &length);
	if (getsockopt(sending->fd, SOL_SOCKET, SO_BUF_LOCK, &sending->locked, &length) < 0)
		sending->locked = -1;
	if (setsockopt(sending->fd, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) < 0)
		setsockopt(sending->fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
}

static void shrink(const struct sending *sending)
{
	int size = sending->size / 2;
	if (size == 0)
		return;
	setsockopt(sending->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (sending->locked >= 0)
		setsockopt(sending->fd, SOL_SOCKET, SO_BUF_LOCK, &sending->locked, sizeof(sending->locked));
}

static bool has_room(const struct sending *sending)
{
	struct pollfd entry = {.fd = sending->fd, .events = POLLOUT};
	return poll(&entry, 1, ROOM_TIMEOUT_MS) == 1;
}

static bool send_message(void *context, const struct message *message)
{
	struct sending *sending = context;
	size_t done = message->address_length;
	do {
		ssize_t sent =
			restore_send_message(sending->restoration, sending->entry, sending->fd, message, done, NULL, 0);
		if (sent < 0 && (errno != EAGAIN || sending->size != 0) && !(errno == EAGAIN && has_room(sending)))
			return false;
		if (sent < 0) {
			enlarge(sending);
			continue;
		}
		sending->sent += (size_t)sent;
		done += (size_t)sent;
	} while (done < message->length);
	return true;
}

void restore_send_unread(struct restoration *restoration, const struct entry *entry, int end)
{
	size_t start = restore_socket_messages(entry), total = entry->record.payload_length - start;
	struct sending sending = {
		.restoration = restoration, .entry = entry, .fd = end, .stream = socket_of(entry)->type == SOCK_STREAM};
	int large = LARGEST_BUFFER;
	if (total == 0)
		return;
	/* A TCP socket makes room for as much as it is asked to wait for. */
	if (is_network(entry) && total > SMALL_QUEUE)
		setsockopt(entry->temporary, SOL_SOCKET, SO_RCVLOWAT, &large, sizeof(large));
	if (!is_network(entry))
		enlarge(&sending);
	bool sent = restore_each_message(entry, start, send_message, &sending);
	int error = errno;
	shrink(&sending);
	if (sent)
		return;
	restore_warn(restoration, "descriptor %d (socket) is closed after %zu bytes of its unread contents: %s",
		     entry->record.number, sending.sent, strerror(error));
	shutdown(end, SHUT_RDWR);
}

/* Notes that a socket is to be filled when all is open. */
static int fill_later(struct restoration *restoration, struct entry *entry, struct entry *other, int end)
{
	struct filling *grown = realloc(restoration->fillings, (restoration->filling_count + 1) * sizeof(*grown));
	if (grown == NULL)
		return restore_refuse(restoration, "out of memory");
	restoration->fillings = grown;
	grown[restoration->filling_count++] = (struct filling){entry, other, end};
	return 0;
}

/* Both directions, each with its end if it has one. `other` may be NULL: that end is `end`, and is closed. */
static int fill(struct restoration *restoration, struct entry *entry, struct entry *other, int end)
{
	if (!restoration->all_open && (entry->carries || (other != NULL && other->carries)))
		return fill_later(restoration, entry, other, end);
	restore_send_unread(restoration, entry, end);
	if (other != NULL)
		restore_send_unread(restoration, other, entry->temporary);
	if (other != NULL && (socket_of(other)->flags & SOCKET_WRITE_CLOSED))
		shutdown(end, SHUT_WR);
	if (socket_of(entry)->flags & SOCKET_WRITE_CLOSED)
		shutdown(entry->temporary, SHUT_WR);
	if (socket_of(entry)->flags & SOCKET_READ_CLOSED)
		shutdown(is_network(entry) ? entry->temporary : end, is_network(entry) ? SHUT_RD : SHUT_WR);
	if (other != NULL && (socket_of(other)->flags & SOCKET_READ_CLOSED))
		shutdown(is_network(entry) ? end : entry->temporary, is_network(entry) ? SHUT_RD : SHUT_WR);
	if (other == NULL)
		close(end);
	return 0;
}

/* ---- socket pairs ---- */

static int make_pair(struct restoration *restoration, struct entry *entry, struct entry *other)
{
	const struct descriptor_socket *recorded = socket_of(entry);
	int ends[2];
	if (socketpair(AF_UNIX, (int)recorded->type | SOCK_CLOEXEC, (int)recorded->protocol, ends) < 0)
		return restore_refuse_socket(restoration, entry, "make a socket pair");
	entry->temporary = restore_move_up(restoration, ends[0]);
	int end = restore_move_up(restoration, ends[1]);
	if (other != NULL)
		other->temporary = end;
	if (entry->temporary < 0 || end < 0) {
		if (other == NULL && end >= 0)
			close(end);
		return restore_refuse_socket(restoration, entry, "make a socket pair");
	}
	restore_set_options(entry->temporary, entry);
	if (other != NULL)
		restore_set_options(end, other);
	return fill(restoration, entry, other, end);
}

/* The other end of a socketpair() may know nothing of this one. */
int restore_open_pair(struct restoration *restoration, struct entry *entry)
{
	struct entry *other = restore_find_socket(restoration, socket_of(entry)->peer_inode, DESCRIPTOR_PAIR);
	if (other != NULL &&
	    (other == entry || other->temporary >= 0 || socket_of(other)->type != socket_of(entry)->type))
		other = NULL;
	return make_pair(restoration, entry, other);
}

/* ---- listening sockets of our own ---- */

/* Closes what there is; keeps errno. */
static bool give_up(int first, int second)
{
	int error = errno;
	if (first >= 0)
		close(first);
	if (second >= 0)
		close(second);
	errno = error;
	return false;
}

static int listen_at(const struct restoration *restoration, const struct sockaddr_storage *address, socklen_t length)
{
	int on = 1;
	int fd =
		restore_move_up(restoration, socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)address, length) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;
	give_up(fd, -1);
	return -1;
}

/* Accepts the connection of `client`; others, who cannot know of this socket, are turned away. */
static int accept_own(const struct restoration *restoration, int listener, int client)
{
	struct sockaddr_storage own = {0}, peer;
	socklen_t own_length = sizeof(own), length;
	struct pollfd entry = {.fd = listener, .events = POLLIN};
	getsockname(client, (struct sockaddr *)&own, &own_length);
	while (poll(&entry, 1, ROOM_TIMEOUT_MS) == 1) {
		length = sizeof(peer);
		memset(&peer, 0, sizeof(peer));
		int fd = restore_move_up(restoration,
					 accept4(listener, (struct sockaddr *)&peer, &length, SOCK_CLOEXEC));
		if (fd < 0)
			return -1;
		if (restore_same_endpoint(&peer, &own))
			return fd;
		close(fd);
	}
	return -1;
}

void restore_close_listeners(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->listener_count; i++)
		close(restoration->listeners[i].fd);
	free(restoration->listeners);
	restoration->listeners = NULL;
	restoration->listener_count = 0;
}

/* The one at that address, made when there is none. -1: it cannot be. */
static int get_listener(struct restoration *restoration, const struct sockaddr_storage *address, socklen_t length)
{
	size_t count = restoration->listener_count;
	for (size_t i = 0; i < count; i++)
		if (memcmp(&restoration->listeners[i].address, address, sizeof(*address)) == 0)
			return restoration->listeners[i].fd;
	int fd = listen_at(restoration, address, length);
	if (fd < 0)
		return -1;
	struct listener *grown = realloc(restoration->listeners, (count + 1) * sizeof(*grown));
	if (grown == NULL) {
		give_up(fd, -1);
		return -1;
	}
	restoration->listeners = grown;
	grown[count] = (struct listener){.address = *address, .fd = fd};
	restoration->listener_count++;
	return fd;
}

/* ---- TCP within the program ---- */

/*
 * Binds a socket that is to connect. When a connection that has ended still holds the port, only
 * connect() itself may choose it again: it is left a range of that one port to choose from.
 */
static bool bind_client(int fd, struct sockaddr_storage address, socklen_t length)
{
	int on = 1;
	struct sockaddr_in *v4 = (void *)&address;
	uint32_t port = ntohs(v4->sin_port), range = port << 16 | port;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address, length) == 0)
		return true;
	if (errno != EADDRINUSE || setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0)
		return false;
	v4->sin_port = 0;
	return bind(fd, (const struct sockaddr *)&address, length) == 0;
}

static void forget_range(int fd)
{
	uint32_t off = 0;
	setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &off, sizeof(off));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof(off));
}

static int new_socket(const struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = socket_of(entry);
	return restore_move_up(restoration, socket((int)recorded->family, (int)recorded->type | SOCK_CLOEXEC,
						   (int)recorded->protocol));
}

/* Which of the recorded addresses two ends are to have. */
enum keep { KEEP_BOTH, KEEP_SERVER, KEEP_NEITHER };

/* `active` connects to `passive`. */
static bool connect_ends(struct restoration *restoration, struct entry *active, struct entry *passive, enum keep keep)
{
	struct sockaddr_storage to = restore_local_address(passive), from = restore_local_address(active);
	socklen_t length = socket_of(passive)->local_length;
	if (keep == KEEP_NEITHER)
		to = restore_loopback((int)socket_of(passive)->family, socket_of(active)->family == AF_INET);
	int listener =
		keep == KEEP_NEITHER ? listen_at(restoration, &to, sizeof(to)) : get_listener(restoration, &to, length);
	length = sizeof(to);
	if (listener < 0 || getsockname(listener, (struct sockaddr *)&to, &length) < 0)
		return false;
	restore_convert(&to, &length, (int)socket_of(active)->family);
	int client = new_socket(restoration, active), server = -1;
	if (client >= 0)
		restore_set_options(client, active);
	bool connected = client >= 0 &&
			 (keep != KEEP_BOTH || bind_client(client, from, socket_of(active)->local_length)) &&
			 connect(client, (const struct sockaddr *)&to, length) == 0;
	if (connected)
		server = accept_own(restoration, listener, client);
	if (keep == KEEP_NEITHER)
		give_up(listener, -1);
	if (server < 0)
		return give_up(client, -1);
	forget_range(client);
	restore_set_options(server, passive);
	active->temporary = client;
	passive->temporary = server;
	return true;
}

static bool is_served(struct restoration *restoration, const struct entry *entry)
{
	const struct sockaddr_storage local = restore_local_address(entry);
	for (size_t i = 0; i < restoration->count; i++) {
		const struct entry *listening = &restoration->entries[i];
		if (listening->record.kind != DESCRIPTOR_LISTENING || listening->record.shared_with >= 0 ||
		    !is_network(listening))
			continue;
		const struct sockaddr_storage address = restore_local_address(listening);
		if (restore_port(&address) == restore_port(&local))
			return true;
	}
	return false;
}

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Waits a moment for connections that have ended to leave their addresses. False: long enough. */
static bool be_patient(struct restoration *restoration)
{
	const struct timespec moment = {.tv_nsec = 20000000};
	if (errno != EADDRINUSE && errno != EADDRNOTAVAIL)
		return false;
	if (restoration->patience_ns == 0)
		restoration->patience_ns = now_ns() + PATIENCE_NS;
	nanosleep(&moment, NULL);
	return now_ns() < restoration->patience_ns;
}

/* Which end connects cannot be told later, so if one way is barred the other is tried. */
static int open_inside(struct restoration *restoration, struct entry *entry, struct entry *other)
{
	struct entry *passive = is_served(restoration, entry) ? entry : other;
	struct entry *active = passive == entry ? other : entry;
	bool done;
	do
		done = connect_ends(restoration, active, passive, KEEP_BOTH) ||
		       /* NOLINTNEXTLINE(readability-suspicious-call-argument): swapped indeed */
		       connect_ends(restoration, passive, active, KEEP_BOTH);
	while (!done && be_patient(restoration));
	if (!done) {
		restore_warn(restoration,
			     "descriptors %d and %d (socket) are connected again, but not under the "
			     "addresses they had: %s",
			     entry->record.number, other->record.number, strerror(errno));
		done = connect_ends(restoration, active, passive, KEEP_SERVER) ||
		       connect_ends(restoration, active, passive, KEEP_NEITHER);
	}
	if (!done)
		return restore_refuse_socket(restoration, entry, "connect both ends");
	return fill(restoration, entry, other, other->temporary);
}

/* ---- connections to the outside ---- */

/* A socket at the recorded address, or of the loopback network, and its other end. False: neither. */
static bool make_outside(struct restoration *restoration, struct entry *entry, int *end)
{
	struct sockaddr_storage address = restore_local_address(entry);
	socklen_t length = socket_of(entry)->local_length;
	int listener = length > 0 ? get_listener(restoration, &address, length) : -1;
	if (listener < 0) {
		address = restore_loopback((int)socket_of(entry)->family, false);
		listener = get_listener(restoration, &address, sizeof(address));
	}
	if (listener < 0) {
		address = restore_loopback((int)socket_of(entry)->family, true);
		listener = get_listener(restoration, &address, sizeof(address));
	}
	length = sizeof(address);
	if (listener < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		return false;
	*end = restore_move_up(restoration, socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (*end < 0 || connect(*end, (const struct sockaddr *)&address, length) < 0)
		return give_up(*end, -1);
	entry->temporary = accept_own(restoration, listener, *end);
	return entry->temporary >= 0 || give_up(*end, -1);
}

/* Without a loopback network a unix socket is at least closed. */
static int open_outside(struct restoration *restoration, struct entry *entry)
{
	int end;
	if (!is_network(entry) || !make_outside(restoration, entry, &end))
		return make_pair(restoration, entry, NULL);
	restore_set_options(entry->temporary, entry);
	restore_send_unread(restoration, entry, end);
	close(end);
	return 0;
}

/* ---- all of them ---- */

/* Connected when the listening sockets listen: what waits to be accepted, or to be connected. */
static int open_unconnected(struct restoration *restoration, struct entry *entry)
{
	const struct sockaddr_storage address = restore_local_address(entry);
	entry->temporary = new_socket(restoration, entry);
	if (entry->temporary < 0)
		return restore_refuse_socket(restoration, entry, "make a socket");
	restore_set_options(entry->temporary, entry);
	if (is_network(entry) && socket_of(entry)->local_length > 0)
		bind_client(entry->temporary, address, socket_of(entry)->local_length);
	return 0;
}

/* The destination may not be known: whoever waits in connect() makes the call again and needs no more than a socket, all
 * others see a connection that is over. */
static bool is_connecting(const struct entry *entry)
{
	return (socket_of(entry)->flags & SOCKET_CONNECTING) && is_network(entry) &&
	       (socket_of(entry)->peer_length > 0 || !(entry->record.flags & O_NONBLOCK));
}

int restore_open_connection(struct restoration *restoration, struct entry *entry)
{
	struct entry *other = other_end(restoration, entry);
	if ((socket_of(entry)->flags & SOCKET_WAITING) || is_connecting(entry))
		return open_unconnected(restoration, entry);
	if (other == NULL)
		return open_outside(restoration, entry);
	if (is_network(entry))
		return open_inside(restoration, entry, other);
	if (socket_of(entry)->local_length == 0 && socket_of(other)->local_length == 0)
		return make_pair(restoration, entry, other);
	return 0; /* names come with the listening sockets */
}

/* ---- unix connections with a name ---- */

static bool listens_at(const struct entry *entry, const struct entry *connection)
{
	if (entry->record.kind != DESCRIPTOR_LISTENING || entry->record.shared_with >= 0 || entry->lost ||
	    socket_of(entry)->family != AF_UNIX || socket_of(entry)->type != socket_of(connection)->type)
		return false;
	const struct sockaddr_storage at = restore_local_address(entry), name = restore_local_address(connection);
	return socket_of(connection)->local_length > 0 &&
	       socket_of(entry)->local_length == socket_of(connection)->local_length &&
	       memcmp(&at, &name, sizeof(at)) == 0;
}

/* The program's listening socket that `entry` was accepted from. */
static const struct entry *find_server(struct restoration *restoration, const struct entry *entry)
{
	for (size_t i = 0; i < restoration->count; i++)
		if (listens_at(&restoration->entries[i], entry))
			return &restoration->entries[i];
	return NULL;
}

/* Accepts our own connection, of the program's own process. */
static int accept_unix(const struct restoration *restoration, int listener)
{
	struct pollfd entry = {.fd = listener, .events = POLLIN};
	while (poll(&entry, 1, ROOM_TIMEOUT_MS) == 1) {
		struct ucred peer = {0};
		socklen_t length = sizeof(peer);
		int fd = restore_move_up(restoration, accept4(listener, NULL, NULL, SOCK_CLOEXEC));
		if (fd < 0)
			return -1;
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == getpid())
			return fd;
		close(fd);
	}
	return -1;
}

static bool connect_unix(struct restoration *restoration, struct entry *active, struct entry *passive)
{
	const struct entry *server = find_server(restoration, passive);
	const struct sockaddr_storage to = restore_local_address(passive);
	if (server == NULL)
		return false;
	int client = new_socket(restoration, active), end = -1;
	if (client >= 0 && connect(client, (const struct sockaddr *)&to, socket_of(passive)->local_length) == 0)
		end = accept_unix(restoration, server->temporary);
	if (end < 0)
		return give_up(client, -1);
	active->temporary = client;
	passive->temporary = end;
	restore_set_options(client, active);
	restore_set_options(end, passive);
	return fill(restoration, active, passive, end) == 0;
}

int restore_connect_connection(struct restoration *restoration, struct entry *entry)
{
	struct entry *other = other_end(restoration, entry);
	if (other == NULL || entry->temporary >= 0)
		return 0;
	if (connect_unix(restoration, entry, other) || connect_unix(restoration, other, entry))
		return 0;
	return make_pair(restoration, entry, other);
}

/* ---- the end ---- */

static bool is_own_connection(const struct entry *entry)
{
	return entry->record.kind == DESCRIPTOR_CONNECTION && entry->record.shared_with < 0 && !entry->lost &&
	       !entry->stands_in;
}

static bool is_waiting(const struct entry *entry)
{
	return is_own_connection(entry) && (socket_of(entry)->flags & SOCKET_WAITING);
}

/* Asks for the connection to the recorded peer. False: errno says why there is none. */
static bool request(struct restoration *restoration, struct entry *entry)
{
	const struct sockaddr_storage to = restore_peer_address(entry);
	socklen_t length = socket_of(entry)->peer_length;
	bool done;
	do
		done = connect(entry->temporary, (const struct sockaddr *)&to, length) == 0 || errno == EINPROGRESS;
	while (!done && is_network(entry) && be_patient(restoration));
	int error = errno;
	if (is_network(entry))
		forget_range(entry->temporary);
	/* From any port: what matters is that it waits. */
	if (!done && is_network(entry) && (error == EADDRINUSE || error == EADDRNOTAVAIL))
		done = connect(entry->temporary, (const struct sockaddr *)&to, length) == 0 || errno == EINPROGRESS;
	errno = error;
	return done;
}

static void connect_waiting(struct restoration *restoration, struct entry *entry)
{
	if (!request(restoration, entry))
		restore_warn(restoration, "descriptor %d (socket) is no longer connected: %s", entry->record.number,
			     strerror(errno));
	if (socket_of(entry)->flags & SOCKET_WRITE_CLOSED)
		shutdown(entry->temporary, SHUT_WR);
	entry->filled = true;
}

/* Does not wait for the answer. Whoever waits in connect() hears himself what comes of it. */
static void request_again(struct restoration *restoration, struct entry *entry)
{
	int flags = fcntl(entry->temporary, F_GETFL);
	fcntl(entry->temporary, F_SETFL, flags | O_NONBLOCK);
	if (!request(restoration, entry) && (entry->record.flags & O_NONBLOCK))
		restore_warn(restoration, "descriptor %d (socket) is no longer being connected: %s",
			     entry->record.number, strerror(errno));
	fcntl(entry->temporary, F_SETFL, flags);
}

/* The next in turn: the lowest place of those that are left. */
static struct entry *next_waiting(struct restoration *restoration)
{
	struct entry *next = NULL;
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		if (is_waiting(entry) && !entry->filled &&
		    (next == NULL || socket_of(entry)->place < socket_of(next)->place))
			next = entry;
	}
	return next;
}

static bool is_socket(const struct entry *entry)
{
	switch (entry->record.kind) {
	case DESCRIPTOR_LISTENING:
	case DESCRIPTOR_UNCONNECTED:
	case DESCRIPTOR_PAIR:
	case DESCRIPTOR_CONNECTION: return entry->record.shared_with < 0 && !entry->lost && !entry->stands_in;
	default: return false;
	}
}

int restore_fill_rest(struct restoration *restoration)
{
	size_t count = restoration->filling_count;
	restoration->filling_count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct filling *filling = &restoration->fillings[i];
		fill(restoration, filling->entry, filling->other, filling->end);
	}
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		if (entry->record.kind == DESCRIPTOR_UNCONNECTED && entry->carries && !entry->lost &&
		    restore_connect_socket(restoration, entry) < 0)
			return -1;
	}
	return 0;
}

int restore_finish_sockets(struct restoration *restoration)
{
	for (struct entry *entry; (entry = next_waiting(restoration)) != NULL;)
		connect_waiting(restoration, entry);
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		if (is_own_connection(entry) && is_connecting(entry) && socket_of(entry)->peer_length > 0)
			request_again(restoration, entry);
	}
	for (size_t i = 0; i < restoration->count; i++) {
		const struct entry *entry = &restoration->entries[i];
		if (!is_socket(entry))
			continue;
		restore_set_last_options(entry->temporary, entry);
		restore_join_groups(restoration, entry);
	}
	return 0;
}
