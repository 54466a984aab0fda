/*
 * TCP connections: within the program, and to the outside.
 *
 * Both ends of a connection within the program are made and connected to each other, over a listening socket of our own
 * at the address of one of them; the program's listening sockets are bound by then or later, and listen after that. A
 * connection to the outside gets another end of ours.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "restore/descriptors/address.h"
#include "restore/descriptors/private.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51 /* Linux 6.3 */
#endif

/* ---- listening sockets of our own ---- */

bool restore_give_up(int fd)
{
	int error = errno;
	if (fd >= 0)
		close(fd);
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
	restore_give_up(fd);
	return -1;
}

/* Accepts the connection of `client`; others, who cannot know of this socket, are turned away. */
static int accept_own(const struct restoration *restoration, int listener, int client)
{
	struct sockaddr_storage own = {0}, peer;
	socklen_t own_length = sizeof(own), length;
	struct pollfd entry = {.fd = listener, .events = POLLIN};
	getsockname(client, (struct sockaddr *)&own, &own_length);
	while (poll(&entry, 1, RESTORE_ACCEPT_MS) == 1) {
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
		restore_give_up(fd);
		return -1;
	}
	restoration->listeners = grown;
	grown[count] = (struct listener){.address = *address, .fd = fd};
	restoration->listener_count++;
	return fd;
}

/* ---- TCP within the program ---- */

bool restore_bind_client(int fd, struct sockaddr_storage address, socklen_t length)
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

void restore_forget_port_range(int fd)
{
	uint32_t off = 0;
	setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &off, sizeof(off));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &off, sizeof(off));
}

/* Which of the recorded addresses two ends are to have. */
enum keep { KEEP_BOTH, KEEP_SERVER, KEEP_NEITHER };

/* `active` connects to `passive`. */
static bool connect_ends(struct restoration *restoration, struct entry *active, struct entry *passive, enum keep keep)
{
	struct sockaddr_storage to = restore_local_address(passive), from = restore_local_address(active);
	socklen_t length = restore_socket_of(passive)->local_length;
	if (keep == KEEP_NEITHER)
		to = restore_loopback((int)restore_socket_of(passive)->family,
				      restore_socket_of(active)->family == AF_INET);
	int listener =
		keep == KEEP_NEITHER ? listen_at(restoration, &to, sizeof(to)) : get_listener(restoration, &to, length);
	length = sizeof(to);
	if (listener < 0 || getsockname(listener, (struct sockaddr *)&to, &length) < 0)
		return false;
	restore_convert(&to, &length, (int)restore_socket_of(active)->family);
	int client = restore_new_socket(restoration, active), server = -1;
	if (client >= 0)
		restore_set_options(client, active);
	bool connected =
		client >= 0 &&
		(keep != KEEP_BOTH || restore_bind_client(client, from, restore_socket_of(active)->local_length)) &&
		connect(client, (const struct sockaddr *)&to, length) == 0;
	if (connected)
		server = accept_own(restoration, listener, client);
	if (keep == KEEP_NEITHER)
		restore_give_up(listener);
	if (server < 0)
		return restore_give_up(client);
	restore_forget_port_range(client);
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
		    !restore_is_network(listening))
			continue;
		const struct sockaddr_storage address = restore_local_address(listening);
		if (restore_port(&address) == restore_port(&local))
			return true;
	}
	return false;
}

/* Which end connects cannot be told later, so if one way is barred the other is tried. */
int restore_open_inside(struct restoration *restoration, struct entry *entry, struct entry *other)
{
	struct entry *passive = is_served(restoration, entry) ? entry : other;
	struct entry *active = passive == entry ? other : entry;
	bool done;
	do
		done = connect_ends(restoration, active, passive, KEEP_BOTH) ||
		       /* NOLINTNEXTLINE(readability-suspicious-call-argument): swapped indeed */
		       connect_ends(restoration, passive, active, KEEP_BOTH);
	while (!done && restore_be_patient(restoration, errno));
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
	return restore_fill_connection(restoration, entry, other, other->temporary);
}

/* ---- to the outside ---- */

bool restore_make_outside(struct restoration *restoration, struct entry *entry, int *end)
{
	struct sockaddr_storage address = restore_local_address(entry);
	socklen_t length = restore_socket_of(entry)->local_length;
	int listener = length > 0 ? get_listener(restoration, &address, length) : -1;
	if (listener < 0) {
		address = restore_loopback((int)restore_socket_of(entry)->family, false);
		listener = get_listener(restoration, &address, sizeof(address));
	}
	if (listener < 0) {
		address = restore_loopback((int)restore_socket_of(entry)->family, true);
		listener = get_listener(restoration, &address, sizeof(address));
	}
	length = sizeof(address);
	if (listener < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		return false;
	*end = restore_move_up(restoration, socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (*end < 0 || connect(*end, (const struct sockaddr *)&address, length) < 0)
		return restore_give_up(*end);
	entry->temporary = accept_own(restoration, listener, *end);
	return entry->temporary >= 0 || restore_give_up(*end);
}
