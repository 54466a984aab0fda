/*
 * Connections: socket pairs, connections within the program, and to the outside.
 *
 * Both ends of a connection within the program are made and connected to each other: see tcp.c; a unix
 * connection with a name is made when the program's own socket listens there. What a socket had not read
 * is sent to it from its other end: see fill.c. A connection to the outside gets another end of ours,
 * which sends what was unread and closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

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
	struct entry *other =
		restore_find_socket(restoration, restore_socket_of(entry)->peer_inode, entry->record.kind);
	if (other == NULL || other == entry || restore_socket_of(other)->peer_inode != entry->record.inode ||
	    restore_socket_of(other)->type != restore_socket_of(entry)->type ||
	    restore_is_network(other) != restore_is_network(entry) ||
	    ((restore_socket_of(entry)->flags | restore_socket_of(other)->flags) & SOCKET_WAITING))
		return NULL;
	return other;
}

/* ---- socket pairs ---- */

static int make_pair(struct restoration *restoration, struct entry *entry, struct entry *other)
{
	const struct descriptor_socket *recorded = restore_socket_of(entry);
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
	return restore_fill_connection(restoration, entry, other, end);
}

/* The other end of a socketpair() may know nothing of this one. */
int restore_open_pair(struct restoration *restoration, struct entry *entry)
{
	struct entry *other = restore_find_socket(restoration, restore_socket_of(entry)->peer_inode, DESCRIPTOR_PAIR);
	if (other != NULL && (other == entry || other->temporary >= 0 ||
			      restore_socket_of(other)->type != restore_socket_of(entry)->type))
		other = NULL;
	return make_pair(restoration, entry, other);
}

/* ---- opening ---- */

/* Without a loopback network a unix socket is at least closed. */
static int open_outside(struct restoration *restoration, struct entry *entry)
{
	int end;
	if (!restore_is_network(entry) || !restore_make_outside(restoration, entry, &end))
		return make_pair(restoration, entry, NULL);
	restore_set_options(entry->temporary, entry);
	restore_send_unread(restoration, entry, end);
	close(end);
	return 0;
}

/* Connected when the listening sockets listen: what waits to be accepted, or to be connected. */
static int open_unconnected(struct restoration *restoration, struct entry *entry)
{
	const struct sockaddr_storage address = restore_local_address(entry);
	entry->temporary = restore_new_socket(restoration, entry);
	if (entry->temporary < 0)
		return restore_refuse_socket(restoration, entry, "make a socket");
	restore_set_options(entry->temporary, entry);
	if (restore_is_network(entry) && restore_socket_of(entry)->local_length > 0)
		restore_bind_client(entry->temporary, address, restore_socket_of(entry)->local_length);
	return 0;
}

/* The destination may not be known: whoever waits in connect() makes the call again and needs no more than a socket, all
 * others see a connection that is over. */
static bool is_connecting(const struct entry *entry)
{
	return (restore_socket_of(entry)->flags & SOCKET_CONNECTING) && restore_is_network(entry) &&
	       (restore_socket_of(entry)->peer_length > 0 || !(entry->record.flags & O_NONBLOCK));
}

int restore_open_connection(struct restoration *restoration, struct entry *entry)
{
	struct entry *other = other_end(restoration, entry);
	if ((restore_socket_of(entry)->flags & SOCKET_WAITING) || is_connecting(entry))
		return open_unconnected(restoration, entry);
	if (other == NULL)
		return open_outside(restoration, entry);
	if (restore_is_network(entry))
		return restore_open_inside(restoration, entry, other);
	if (restore_socket_of(entry)->local_length == 0 && restore_socket_of(other)->local_length == 0)
		return make_pair(restoration, entry, other);
	return 0; /* names come with the listening sockets */
}

/* ---- unix connections with a name ---- */

static bool listens_at(const struct entry *entry, const struct entry *connection)
{
	if (entry->record.kind != DESCRIPTOR_LISTENING || entry->record.shared_with >= 0 || entry->lost ||
	    restore_socket_of(entry)->family != AF_UNIX ||
	    restore_socket_of(entry)->type != restore_socket_of(connection)->type)
		return false;
	const struct sockaddr_storage at = restore_local_address(entry), name = restore_local_address(connection);
	return restore_socket_of(connection)->local_length > 0 &&
	       restore_socket_of(entry)->local_length == restore_socket_of(connection)->local_length &&
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
	while (poll(&entry, 1, RESTORE_ACCEPT_MS) == 1) {
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
	int client = restore_new_socket(restoration, active), end = -1;
	if (client >= 0 && connect(client, (const struct sockaddr *)&to, restore_socket_of(passive)->local_length) == 0)
		end = accept_unix(restoration, server->temporary);
	if (end < 0)
		return restore_give_up(client);
	active->temporary = client;
	passive->temporary = end;
	restore_set_options(client, active);
	restore_set_options(end, passive);
	return restore_fill_connection(restoration, active, passive, end) == 0;
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
	return is_own_connection(entry) && (restore_socket_of(entry)->flags & SOCKET_WAITING);
}

/* Asks for the connection to the recorded peer. False: errno says why there is none. */
static bool request(struct restoration *restoration, struct entry *entry)
{
	const struct sockaddr_storage to = restore_peer_address(entry);
	socklen_t length = restore_socket_of(entry)->peer_length;
	bool done;
	do
		done = connect(entry->temporary, (const struct sockaddr *)&to, length) == 0 || errno == EINPROGRESS;
	while (!done && restore_is_network(entry) && restore_be_patient(restoration, errno));
	int error = errno;
	if (restore_is_network(entry))
		restore_forget_port_range(entry->temporary);
	/* From any port: what matters is that it waits. */
	if (!done && restore_is_network(entry) && (error == EADDRINUSE || error == EADDRNOTAVAIL))
		done = connect(entry->temporary, (const struct sockaddr *)&to, length) == 0 || errno == EINPROGRESS;
	errno = error;
	return done;
}

static void connect_waiting(struct restoration *restoration, struct entry *entry)
{
	if (!request(restoration, entry))
		restore_warn(restoration, "descriptor %d (socket) is no longer connected: %s", entry->record.number,
			     strerror(errno));
	if (restore_socket_of(entry)->flags & SOCKET_WRITE_CLOSED)
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
		    (next == NULL || restore_socket_of(entry)->place < restore_socket_of(next)->place))
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

int restore_finish_sockets(struct restoration *restoration)
{
	for (struct entry *entry; (entry = next_waiting(restoration)) != NULL;)
		connect_waiting(restoration, entry);
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		if (is_own_connection(entry) && is_connecting(entry) && restore_socket_of(entry)->peer_length > 0)
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
