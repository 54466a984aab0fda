/* What sockets of connections had not read: sent to them again from their other ends; and what they had shut down. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14 */
#endif
#define LARGEST_BUFFER (INT_MAX / 4)
#define SMALL_QUEUE 32768    /* bytes that fit into any receive buffer */
#define ROOM_TIMEOUT_MS 1000 /* for the kernel to move what has been sent to where it goes */

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
	struct sending sending = {.restoration = restoration,
				  .entry = entry,
				  .fd = end,
				  .stream = restore_socket_of(entry)->type == SOCK_STREAM};
	int large = LARGEST_BUFFER;
	if (total == 0)
		return;
	/* A TCP socket makes room for as much as it is asked to wait for. */
	if (restore_is_network(entry) && total > SMALL_QUEUE)
		setsockopt(entry->temporary, SOL_SOCKET, SO_RCVLOWAT, &large, sizeof(large));
	if (!restore_is_network(entry))
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

int restore_fill_connection(struct restoration *restoration, struct entry *entry, struct entry *other, int end)
{
	if (!restoration->all_open && (entry->carries || (other != NULL && other->carries)))
		return fill_later(restoration, entry, other, end);
	restore_send_unread(restoration, entry, end);
	if (other != NULL)
		restore_send_unread(restoration, other, entry->temporary);
	if (other != NULL && (restore_socket_of(other)->flags & SOCKET_WRITE_CLOSED))
		shutdown(end, SHUT_WR);
	if (restore_socket_of(entry)->flags & SOCKET_WRITE_CLOSED)
		shutdown(entry->temporary, SHUT_WR);
	if (restore_socket_of(entry)->flags & SOCKET_READ_CLOSED)
		shutdown(restore_is_network(entry) ? entry->temporary : end,
			 restore_is_network(entry) ? SHUT_RD : SHUT_WR);
	if (other != NULL && (restore_socket_of(other)->flags & SOCKET_READ_CLOSED))
		shutdown(restore_is_network(entry) ? end : entry->temporary,
			 restore_is_network(entry) ? SHUT_RD : SHUT_WR);
	if (other == NULL)
		close(end);
	return 0;
}

int restore_fill_rest(struct restoration *restoration)
{
	size_t count = restoration->filling_count;
	restoration->filling_count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct filling *filling = &restoration->fillings[i];
		restore_fill_connection(restoration, filling->entry, filling->other, filling->end);
	}
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		if (entry->record.kind == DESCRIPTOR_UNCONNECTED && entry->carries && !entry->lost &&
		    restore_connect_socket(restoration, entry) < 0)
			return -1;
	}
	return 0;
}
