/*
 * Unread datagrams. Each is sent to its socket again, from the program's own socket if that had
 * sent it, else from one of ours with the same address. An address that is not ours to have, that
 * of a foreign host or another process, cannot be had back: such a datagram of the network is
 * lost, as the network may lose it; one of a unix socket comes without its sender's name.
 *
 * A socket of the network whose address others may have, too, or a multicast group, gets them before it
 * is bound there, at a port of its own: no other hears them.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "restore/descriptors/address.h"
#include "restore/descriptors/private.h"

struct delivery {
	struct restoration *restoration;
	const struct entry *to;
	struct sockaddr_storage address; /* of `to` */
	socklen_t length;
	unsigned lost, nameless;
	struct sockaddr_storage loser; /* the sender of one that is lost */
	socklen_t loser_length;
	int error;
};

static bool same_name(const struct entry *entry, const struct sockaddr_storage *address, socklen_t length)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	const struct sockaddr_storage local = restore_local_address(entry);
	return recorded->local_length == length && memcmp(&local, address, length) == 0;
}

static uint16_t port_of(const struct sockaddr_storage *address) /* at the same place in both families */
{
	return ((const struct sockaddr_in *)(const void *)address)->sin_port;
}

static bool is_any(const struct sockaddr_storage *address)
{
	static const struct in6_addr any6;
	if (address->ss_family == AF_INET)
		return ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr == 0;
	return memcmp(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, &any6, sizeof(any6)) == 0;
}

/* Whether a datagram from `entry` comes from that address. */
static bool sends_from(const struct entry *entry, const struct sockaddr_storage *address, socklen_t length)
{
	if (entry->record.kind != DESCRIPTOR_UNCONNECTED || entry->record.shared_with >= 0 || entry->temporary < 0 ||
	    entry->elsewhere)
		return false;
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	if (recorded->family != address->ss_family || recorded->type != SOCK_DGRAM || recorded->local_length == 0)
		return false;
	const struct sockaddr_storage local = restore_local_address(entry);
	if (same_name(entry, address, length))
		return true;
	return address->ss_family != AF_UNIX && port_of(&local) == port_of(address) && is_any(&local);
}

/* A socket with that address; *own: one of the program's. -1: it cannot be had. */
static int find_sender(const struct delivery *delivery, const struct sockaddr_storage *address, socklen_t length,
		       bool *own)
{
	struct restoration *restoration = delivery->restoration;
	for (size_t i = 0; i < restoration->count; i++)
		if (length > 0 && sends_from(&restoration->entries[i], address, length)) {
			*own = true;
			return restoration->entries[i].temporary;
		}
	*own = false;
	int fd = socket(delivery->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool path = address->ss_family == AF_UNIX && ((const char *)address)[sizeof(sa_family_t)] != '\0';
	if (length > 0 && !path && bind(fd, (const struct sockaddr *)address, length) < 0 &&
	    address->ss_family != AF_UNIX) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

/* Where to send it: a socket bound to no address of its own has the sender's. */
static struct sockaddr_storage destination(const struct delivery *delivery, const struct sockaddr_storage *from)
{
	struct sockaddr_storage to = delivery->address;
	if (to.ss_family == AF_UNIX || from->ss_family != to.ss_family || !is_any(&to))
		return to;
	to = *from;
	((struct sockaddr_in *)(void *)&to)->sin_port = port_of(&delivery->address);
	return to;
}

static void note_lost(struct delivery *delivery, const struct sockaddr_storage *from, socklen_t length)
{
	delivery->lost++;
	delivery->error = errno;
	delivery->loser = *from;
	delivery->loser_length = length;
}

static bool deliver(void *context, const struct message *message)
{
	struct delivery *delivery = context;
	struct sockaddr_storage from = {0};
	socklen_t length = (socklen_t)message->address_length;
	bool own;
	memcpy(&from, message->bytes, length);
	int sender = find_sender(delivery, &from, length, &own);
	if (sender < 0) {
		note_lost(delivery, &from, length);
		return true;
	}
	const struct sockaddr_storage to = destination(delivery, &from);
	if (restore_send_message(delivery->restoration, delivery->to, sender, message, length, &to, delivery->length) <
	    0)
		note_lost(delivery, &from, length);
	if (!own)
		close(sender);
	return true;
}

static bool is_multicast(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return IN_MULTICAST(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
	return IN6_IS_ADDR_MULTICAST(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

/* Whether what is sent to its address may go to another socket. */
static bool shares_address(const struct entry *entry)
{
	const struct sockaddr_storage local = restore_local_address(entry);
	int number;
	return is_multicast(&local) || restore_get_option(entry, DESCRIPTOR_OPTION_REUSEADDR, &number) ||
	       restore_get_option(entry, DESCRIPTOR_OPTION_REUSEPORT, &number);
}

bool restore_fill_elsewhere(struct restoration *restoration, struct entry *entry)
{
	struct sockaddr_storage address = {.ss_family = (sa_family_t)PAYLOAD(entry, struct descriptor_socket)->family};
	const struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	if (restore_socket_messages(entry) == entry->record.payload_length || !shares_address(entry) ||
	    bind(entry->temporary, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return false;
	entry->elsewhere = true;
	restore_fill_datagrams(restoration, entry);
	entry->elsewhere = false;
	/* A port that the kernel has chosen it takes back here, and BINDTODEVICE with it. */
	(void)connect(entry->temporary, &nowhere, sizeof(nowhere));
	restore_set_options(entry->temporary, entry);
	return true;
}

void restore_fill_datagrams(struct restoration *restoration, struct entry *entry)
{
	struct delivery delivery = {.restoration = restoration, .to = entry, .length = sizeof(delivery.address)};
	char text[ADDRESS_TEXT_SIZE];
	size_t start = restore_socket_messages(entry);
	if (start == entry->record.payload_length ||
	    getsockname(entry->temporary, (struct sockaddr *)&delivery.address, &delivery.length) < 0)
		return;
	restore_each_message(entry, start, deliver, &delivery);
	if (delivery.lost == 0)
		return;
	restore_format_address(&delivery.loser, delivery.loser_length, text, sizeof(text));
	restore_warn(restoration, "descriptor %d (socket): %u unread datagrams are lost, one from %s: %s",
		     entry->record.number, delivery.lost, text, strerror(delivery.error));
}
