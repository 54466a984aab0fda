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

#define X(name, level, option) {level, option},
static const struct {
	int level, option;
} options[DESCRIPTOR_OPTIONS] = {DESCRIPTOR_SOCKET_OPTIONS(X)};
#undef X

static int refuse_socket(struct restoration *restoration, const struct entry *entry, const char *what)
{
	return restore_refuse(restoration, "cannot %s for descriptor %d (socket): %s", what,
			      entry->record.number, strerror(errno));
}

/* ---- settings ---- */

static bool is_buffer_size(int option)
{
	return option == DESCRIPTOR_OPTION_RCVBUF || option == DESCRIPTOR_OPTION_SNDBUF;
}

/* Sets what differs: many options leave a mark even when they are set to what they were. One
 * that this kernel or this user cannot set is left as it is. */
static void set_option(int fd, int index, int value)
{
	int current = 0;
	socklen_t length = sizeof(current);
	if (getsockopt(fd, options[index].level, options[index].option, &current, &length) < 0)
		return;
	if (is_buffer_size(index)) /* the kernel doubles what it is given */
		current /= 2;
	if (current != value)
		setsockopt(fd, options[index].level, options[index].option, &value, sizeof(value));
}

static void set_timeout(int fd, int option, int64_t us)
{
	struct timeval timeout = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
	if (us > 0)
		setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout));
}

static void set_options(int fd, const struct descriptor_socket *recorded)
{
	struct linger linger = {.l_onoff = 1, .l_linger = recorded->linger_seconds};
	for (int i = 0; i < DESCRIPTOR_OPTIONS; i++)
		if (recorded->option_set & (1U << i))
			set_option(fd, i, recorded->option[i]);
	set_timeout(fd, SO_RCVTIMEO, recorded->receive_timeout_us);
	set_timeout(fd, SO_SNDTIMEO, recorded->send_timeout_us);
	if (recorded->linger_seconds >= 0)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* ---- bound and listening sockets ---- */

static struct sockaddr_storage address_of(const uint8_t *bytes)
{
	struct sockaddr_storage address;
	memcpy(&address, bytes, sizeof(address));
	return address;
}

static bool is_unix_path(const struct descriptor_socket *recorded, char *path)
{
	const struct sockaddr_storage address = address_of(recorded->local);
	return restore_unix_path(&address, recorded->local_length, path);
}

static int refuse_bind(struct restoration *restoration, const struct descriptor_socket *recorded)
{
	char text[ADDRESS_TEXT_SIZE];
	int error = errno;
	const struct sockaddr_storage address = address_of(recorded->local);
	restore_format_address(&address, recorded->local_length, text, sizeof(text));
	return restore_refuse(restoration, "cannot bind %s, where the program was listening: %s%s", text,
			      strerror(error),
			      error == EADDRINUSE ? "; stop what uses it and try again" : "");
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

/* The recorded number is the process's own by default, which the kernel gives anew. */
static int bind_netlink(int fd, struct sockaddr_storage *address, socklen_t length)
{
	if (bind_address(fd, address, length) == 0)
		return 0;
	((struct sockaddr_nl *)(void *)address)->nl_pid = 0;
	return bind_address(fd, address, length);
}

/* SO_REUSEADDR: connections of the dead process may still hold the port. */
static int bind_socket(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct sockaddr_storage address = address_of(recorded->local);
	int fd = entry->temporary, on = 1, result;
	if (recorded->family == AF_NETLINK)
		result = bind_netlink(fd, &address, recorded->local_length);
	else if (recorded->peer_length > 0)
		result = bind_client(fd, &address, recorded->local_length);
	else {
		if (recorded->type == SOCK_STREAM)
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		result = bind_address(fd, &address, recorded->local_length);
		if (result < 0)
			return refuse_bind(restoration, recorded);
		set_option(fd, DESCRIPTOR_OPTION_REUSEADDR, recorded->option[DESCRIPTOR_OPTION_REUSEADDR]);
	}
	return result < 0 ? refuse_bind(restoration, recorded) : 0;
}

static int check_path(struct restoration *restoration, const struct descriptor_socket *recorded,
		      const char *path)
{
	const struct sockaddr_storage address = address_of(recorded->local);
	if (recorded->path_mode == 0)
		return 0;
	if (!restore_may_create(path))
		return restore_refuse(
			restoration,
			"cannot bind %s, where the program was listening: no permission to make a "
			"file there",
			path);
	switch (restore_path_state(&address, recorded->local_length, path, (int)recorded->type)) {
	case PATH_IN_USE:
		return restore_refuse(
			restoration,
			"cannot bind %s, where the program was listening: another process uses it; "
			"stop that and try again",
			path);
	case PATH_OTHER_FILE:
		return restore_refuse(restoration,
				      "cannot bind %s, where the program was listening: a file that is not a "
				      "socket is there; move it away and try again",
				      path);
	case PATH_UNUSABLE:
		return restore_refuse(restoration, "cannot bind %s, where the program was listening: %s",
				      path, strerror(errno));
	default:
		return 0;
	}
}

int restore_open_socket(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	char path[UNIX_PATH_SIZE];
	int fd = socket((int)recorded->family, (int)recorded->type | SOCK_CLOEXEC, (int)recorded->protocol);
	entry->temporary = restore_move_up(restoration, fd);
	if (entry->temporary < 0)
		return refuse_socket(restoration, entry, "make a socket");
	set_options(entry->temporary, recorded);
	if (recorded->local_length == 0)
		return 0;
	if (is_unix_path(recorded, path))
		return check_path(restoration, recorded, path);
	return bind_socket(restoration, entry);
}

/* ---- commit ---- */

/* A path that had been removed before the checkpoint cannot be reached: any name will do. */
static int bind_path(struct restoration *restoration, const struct entry *entry, const char *path)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct sockaddr_storage address = address_of(recorded->local);
	if (recorded->path_mode == 0) {
		if (bind_address(entry->temporary, &address, sizeof(sa_family_t)) < 0)
			return refuse_bind(restoration, recorded);
		return 0;
	}
	if (restore_path_state(&address, recorded->local_length, path, (int)recorded->type) == PATH_STALE)
		unlink(path);
	if (bind_address(entry->temporary, &address, recorded->local_length) < 0)
		return refuse_bind(restoration, recorded);
	chmod(path, recorded->path_mode & 07777);
	return 0;
}

static void connect_peer(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	const struct sockaddr_storage peer = address_of(recorded->peer);
	char text[ADDRESS_TEXT_SIZE];
	if (connect(entry->temporary, (const struct sockaddr *)&peer, recorded->peer_length) == 0)
		return;
	restore_format_address(&peer, recorded->peer_length, text, sizeof(text));
	restore_warn(restoration, "descriptor %d (socket) is no longer connected to %s: %s",
		     entry->record.number, text, strerror(errno));
}

int restore_commit_socket(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	char path[UNIX_PATH_SIZE];
	if (is_unix_path(recorded, path) && bind_path(restoration, entry, path) < 0)
		return -1;
	if (entry->record.kind == DESCRIPTOR_LISTENING && listen(entry->temporary, recorded->backlog) < 0)
		return refuse_bind(restoration, recorded);
	if (recorded->peer_length > 0)
		connect_peer(restoration, entry);
	return 0;
}

/* ---- socket pairs ---- */

static bool send_message(void *context, const void *bytes, size_t length)
{
	const int *end = context;
	return send(*end, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
}

/* What `entry` had not read is sent to it from the other end. Both ends have their recorded
 * buffer sizes by now, in which the same data fitted; a larger one makes room for the
 * bookkeeping of messages that are cut up differently. */
static int send_unread(struct restoration *restoration, const struct entry *entry, int other)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	int size = 0, large = INT_MAX / 4;
	socklen_t length = sizeof(size);
	getsockopt(other, SOL_SOCKET, SO_SNDBUF, &size, &length);
	if (setsockopt(other, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) < 0)
		setsockopt(other, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	bool sent = restore_each_message(entry, sizeof(*recorded), send_message, &other);
	int error = errno;
	size /= 2;
	setsockopt(other, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	errno = error;
	if (!sent)
		return refuse_socket(restoration, entry, "put back the unread contents");
	if (recorded->read_closed)
		shutdown(other, SHUT_WR);
	return 0;
}

static struct entry *find_other_end(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *other = &restoration->entries[i];
		if (other != entry && other->record.kind == DESCRIPTOR_PAIR &&
		    other->record.shared_with < 0 && other->temporary < 0 &&
		    other->record.inode == recorded->peer_inode &&
		    PAYLOAD(other, struct descriptor_socket)->type == recorded->type)
			return other;
	}
	return NULL;
}

/* Makes both ends; without another end in the process, that one is closed once it has sent. */
int restore_open_pair(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct entry *other = recorded->peer_inode ? find_other_end(restoration, entry) : NULL;
	int ends[2];
	if (socketpair(AF_UNIX, (int)recorded->type | SOCK_CLOEXEC, (int)recorded->protocol, ends) < 0)
		return refuse_socket(restoration, entry, "make a socket pair");
	entry->temporary = restore_move_up(restoration, ends[0]);
	int end = restore_move_up(restoration, ends[1]);
	if (other != NULL)
		other->temporary = end;
	if (entry->temporary < 0 || end < 0) {
		if (other == NULL && end >= 0)
			close(end);
		return refuse_socket(restoration, entry, "make a socket pair");
	}
	set_options(entry->temporary, recorded);
	if (other != NULL)
		set_options(end, PAYLOAD(other, struct descriptor_socket));
	int result = send_unread(restoration, entry, end);
	if (result == 0 && other != NULL)
		result = send_unread(restoration, other, entry->temporary);
	if (other == NULL)
		close(end);
	return result;
}

/* ---- connections to the outside ---- */

static struct sockaddr_storage loopback(int family)
{
	struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
	if (family == AF_INET)
		((struct sockaddr_in *)(void *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)(void *)&address)->sin6_addr = in6addr_loopback;
	return address;
}

static int get_listener(struct restoration *restoration, int family)
{
	int *listener = &restoration->listener[family == AF_INET6];
	struct sockaddr_storage address = loopback(family);
	if (*listener >= 0)
		return *listener;
	int fd = restore_move_up(restoration, socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
	if (fd >= 0 && (bind_address(fd, &address, sizeof(address)) < 0 || listen(fd, 1) < 0)) {
		close(fd);
		fd = -1;
	}
	*listener = fd;
	return fd;
}

/* A socket of `family` connected over loopback of `via` to a peer that has closed. -1: cannot. */
static int closed_tcp(struct restoration *restoration, int family, int via)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	int listener = get_listener(restoration, via);
	if (listener < 0 || getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		return -1;
	if (family == AF_INET6 && via == AF_INET) {
		struct sockaddr_in6 mapped = {.sin6_family = AF_INET6,
					      .sin6_port = ((struct sockaddr_in *)(void *)&address)->sin_port,
					      .sin6_addr.s6_addr = {[10] = 255, 255, 127, 0, 0, 1}};
		memcpy(&address, &mapped, sizeof(mapped));
		length = sizeof(mapped);
	}
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, length) < 0) {
		close(fd);
		return -1;
	}
	close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	return fd;
}

static int closed_unix(int type)
{
	int ends[2];
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
		return -1;
	close(ends[1]);
	return ends[0];
}

/* Without a loopback network a unix socket is at least closed. */
int restore_open_connection(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_connection *recorded = PAYLOAD(entry, struct descriptor_connection);
	int family = (int)recorded->family, fd = -1;
	if (family == AF_INET || family == AF_INET6)
		fd = closed_tcp(restoration, family, family);
	if (fd < 0 && family == AF_INET6)
		fd = closed_tcp(restoration, family, AF_INET);
	if (fd < 0)
		fd = closed_unix(family == AF_UNIX ? (int)recorded->type : SOCK_STREAM);
	entry->temporary = restore_move_up(restoration, fd);
	return entry->temporary < 0 ? refuse_socket(restoration, entry, "make a socket") : 0;
}
