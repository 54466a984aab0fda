/*
 * Sockets. Addresses of the network are bound while opening, which nobody outside can see;
 * listening, and everything about a unix path, comes with the commit.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "restore/descriptors/address.h"
#include "restore/descriptors/private.h"

int restore_refuse_socket(struct restoration *restoration, const struct entry *entry, const char *what)
{
	return restore_refuse(restoration, "cannot %s for descriptor %d (socket): %s", what, entry->record.number,
			      strerror(errno));
}

/* ---- bound and listening sockets ---- */

int restore_new_socket(const struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = restore_socket_of(entry);
	return restore_move_up(restoration, socket((int)recorded->family, (int)recorded->type | SOCK_CLOEXEC,
						   (int)recorded->protocol));
}

static bool is_unix_path(const struct entry *entry, char *path)
{
	const struct sockaddr_storage address = restore_local_address(entry);
	return restore_unix_path(&address, PAYLOAD(entry, struct descriptor_socket)->local_length, path);
}

static int refuse_bind(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	char text[ADDRESS_TEXT_SIZE];
	int error = errno;
	const struct sockaddr_storage address = restore_local_address(entry);
	restore_format_address(&address, recorded->local_length, text, sizeof(text));
	return restore_refuse(restoration, "cannot bind %s, where the program was listening: %s%s", text,
			      strerror(error), error == EADDRINUSE ? "; stop what uses it and try again" : "");
}

static int bind_address(int fd, struct sockaddr_storage *address, socklen_t length)
{
	return bind(fd, (const struct sockaddr *)address, length);
}

/* A connected datagram socket got its address from the kernel: the host may have another by now. */
static int bind_client(int fd, struct sockaddr_storage *address, socklen_t length)
{
	if (bind_address(fd, address, length) == 0)
		return 0;
	if (address->ss_family == AF_INET)
		((struct sockaddr_in *)(void *)address)->sin_addr.s_addr = htonl(INADDR_ANY);
	else if (address->ss_family == AF_INET6)
		((struct sockaddr_in6 *)(void *)address)->sin6_addr = in6addr_any;
	bind_address(fd, address, length); /* if not, the kernel chooses when it is connected */
	return 0;
}

/* The recorded number is the process's own by default, which the kernel gives anew. Without one it is not bound: the
 * program may be about to do that. */
static int bind_netlink(int fd, struct sockaddr_storage *address, socklen_t length)
{
	struct sockaddr_nl *netlink = (void *)address;
	if (netlink->nl_pid == 0 || bind_address(fd, address, length) == 0)
		return 0;
	netlink->nl_pid = 0;
	return bind_address(fd, address, length);
}

/* What is left of a connection that has failed holds a port that nobody asked for. */
static bool may_go_unbound(const struct entry *entry)
{
	return entry->record.kind == DESCRIPTOR_UNCONNECTED && restore_socket_of(entry)->type == SOCK_STREAM;
}

/* SO_REUSEADDR: connections of the dead process may still hold the port. */
static int bind_socket(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct sockaddr_storage address = restore_local_address(entry);
	int fd = entry->temporary, on = 1, reuse, result;
	if (recorded->family == AF_NETLINK)
		result = bind_netlink(fd, &address, recorded->local_length);
	else if (recorded->peer_length > 0)
		result = bind_client(fd, &address, recorded->local_length);
	else {
		if (recorded->type == SOCK_STREAM || restore_get_option(entry, DESCRIPTOR_OPTION_REUSEADDR, &reuse))
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		do
			result = bind_address(fd, &address, recorded->local_length);
		while (result < 0 && !may_go_unbound(entry) && restore_be_patient(restoration, errno));
	}
	if (result < 0 && errno == EADDRINUSE && may_go_unbound(entry)) {
		restore_warn(restoration, "descriptor %d (socket) is no longer bound: %s", entry->record.number,
			     strerror(errno));
		return 0;
	}
	return result < 0 ? refuse_bind(restoration, entry) : 0;
}

static enum path_state await_path(struct restoration *restoration, const struct entry *entry, const char *path)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	const struct sockaddr_storage address = restore_local_address(entry);
	enum path_state state;
	do
		state = restore_path_state(&address, recorded->local_length, path, (int)recorded->type);
	while (state == PATH_IN_USE && restore_be_patient(restoration, EADDRINUSE));
	return state;
}

static int check_path(struct restoration *restoration, const struct entry *entry, const char *path)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	if (recorded->path_mode == 0)
		return 0;
	if (!restore_may_create(path))
		return restore_refuse(restoration,
				      "cannot bind %s, where the program was listening: no permission to make a "
				      "file there",
				      path);
	switch (await_path(restoration, entry, path)) {
	case PATH_IN_USE:
		return restore_refuse(restoration,
				      "cannot bind %s, where the program was listening: another process uses it; "
				      "stop that and try again",
				      path);
	case PATH_OTHER_FILE:
		return restore_refuse(restoration,
				      "cannot bind %s, where the program was listening: a file that is not a "
				      "socket is there; move it away and try again",
				      path);
	case PATH_UNUSABLE:
		return restore_refuse(restoration, "cannot bind %s, where the program was listening: %s", path,
				      strerror(errno));
	default: return 0;
	}
}

int restore_open_socket(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	char path[UNIX_PATH_SIZE];
	entry->temporary = restore_new_socket(restoration, entry);
	if (entry->temporary < 0)
		return restore_refuse_socket(restoration, entry, "make a socket");
	restore_set_options(entry->temporary, entry);
	if (recorded->local_length == 0)
		return 0;
	if (is_unix_path(entry, path))
		return check_path(restoration, entry, path);
	bool datagrams = restore_is_network(entry) && recorded->type == SOCK_DGRAM;
	bool filled = datagrams && restore_fill_elsewhere(restoration, entry);
	if (bind_socket(restoration, entry) < 0)
		return -1;
	if (datagrams && !filled)
		restore_fill_datagrams(restoration, entry);
	if (recorded->family == AF_NETLINK)
		restore_ask_again(restoration, entry);
	return 0;
}

/* ---- commit ---- */

/* A path that had been removed before the checkpoint cannot be reached: any name will do. */
int restore_bind_path(struct restoration *restoration, const struct entry *entry, const char *path)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct sockaddr_storage address = restore_local_address(entry);
	if (recorded->path_mode == 0) {
		if (bind_address(entry->temporary, &address, sizeof(sa_family_t)) < 0)
			return refuse_bind(restoration, entry);
		return 0;
	}
	if (restore_path_state(&address, recorded->local_length, path, (int)recorded->type) == PATH_STALE)
		unlink(path);
	if (bind_address(entry->temporary, &address, recorded->local_length) < 0)
		return refuse_bind(restoration, entry);
	chmod(path, recorded->path_mode & 07777);
	return 0;
}

static void connect_peer(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	const struct sockaddr_storage peer = restore_peer_address(entry);
	char text[ADDRESS_TEXT_SIZE];
	if (connect(entry->temporary, (const struct sockaddr *)&peer, recorded->peer_length) == 0)
		return;
	restore_format_address(&peer, recorded->peer_length, text, sizeof(text));
	restore_warn(restoration, "descriptor %d (socket) is no longer connected to %s: %s", entry->record.number, text,
		     strerror(errno));
}

int restore_commit_socket(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	char path[UNIX_PATH_SIZE];
	if (is_unix_path(entry, path) && restore_bind_path(restoration, entry, path) < 0)
		return -1;
	if (entry->record.kind == DESCRIPTOR_LISTENING && listen(entry->temporary, recorded->backlog) < 0)
		return refuse_bind(restoration, entry);
	return 0;
}

/* Whoever is connected hears from its peer only, so what others had sent comes first. */
int restore_connect_socket(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	if (entry->carries && !restoration->all_open)
		return 0; /* restore_fill_rest() will come again */
	if (recorded->family == AF_UNIX && recorded->type == SOCK_DGRAM)
		restore_fill_datagrams(restoration, entry);
	if (recorded->peer_length > 0)
		connect_peer(restoration, entry);
	return 0;
}
