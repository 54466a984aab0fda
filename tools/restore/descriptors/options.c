/* The recorded payload of a socket: options, addresses, messages; and setting the options. */
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "restore/descriptors/private.h"

#define PADDED(length) (((size_t)(length) + 7) & ~(size_t)7)

#define X(name, level, option, bytes, usual) {level, option, bytes, usual},
static const struct {
	int level, option;
	uint32_t bytes;
	int32_t usual;
} options[DESCRIPTOR_OPTIONS] = {DESCRIPTOR_SOCKET_OPTIONS(X)};
#undef X

/* ---- the payload ---- */

static struct descriptor_option_value value_at(const struct entry *entry, uint32_t index)
{
	struct descriptor_option_value value;
	memcpy(&value, entry->payload + sizeof(struct descriptor_socket) + index * sizeof(value), sizeof(value));
	return value;
}

static size_t addresses_at(const struct descriptor_socket *recorded)
{
	return sizeof(*recorded) + recorded->option_count * sizeof(struct descriptor_option_value);
}

static size_t memberships_at(const struct descriptor_socket *recorded)
{
	return addresses_at(recorded) + PADDED(recorded->local_length) + PADDED(recorded->peer_length);
}

size_t restore_socket_messages(const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	return memberships_at(recorded) + recorded->membership_length;
}

struct sockaddr_storage restore_local_address(const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct sockaddr_storage address = {0};
	memcpy(&address, entry->payload + addresses_at(recorded), recorded->local_length);
	return address;
}

struct sockaddr_storage restore_peer_address(const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	struct sockaddr_storage address = {0};
	memcpy(&address, entry->payload + addresses_at(recorded) + PADDED(recorded->local_length),
	       recorded->peer_length);
	return address;
}

bool restore_valid_options(const struct entry *entry)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	size_t room = entry->record.payload_length - sizeof(*recorded);
	if (recorded->option_count > DESCRIPTOR_OPTIONS || recorded->local_length > sizeof(struct sockaddr_storage) ||
	    recorded->peer_length > sizeof(struct sockaddr_storage) || recorded->membership_length % 8 != 0 ||
	    restore_socket_messages(entry) - sizeof(*recorded) > room)
		return false;
	for (uint32_t i = 0; i < recorded->option_count; i++) {
		const struct descriptor_option_value value = value_at(entry, i);
		if (value.option >= DESCRIPTOR_OPTIONS || value.length > options[value.option].bytes)
			return false;
	}
	return restore_each_membership(entry, NULL, NULL);
}

static bool valid_membership(const struct descriptor_membership *membership, size_t room)
{
	return room >= sizeof(*membership) &&
	       (membership->family == AF_INET || membership->family == AF_INET6 || membership->family == AF_NETLINK) &&
	       memchr(membership->interface_name, '\0', sizeof(membership->interface_name)) != NULL &&
	       membership->source_count <= (room - sizeof(*membership)) / RESTORE_SOURCE_BYTES;
}

bool restore_each_membership(const struct entry *entry, restore_membership *use, void *context)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	const uint8_t *at = entry->payload + memberships_at(recorded), *end = at + recorded->membership_length;
	while (at < end) {
		const struct descriptor_membership *membership = (const void *)at;
		if (!valid_membership(membership, (size_t)(end - at)))
			return false;
		if (use != NULL)
			use(context, membership, at + sizeof(*membership));
		at += sizeof(*membership) + (size_t)membership->source_count * RESTORE_SOURCE_BYTES;
	}
	return true;
}

/* ---- setting options ---- */

/* Sets what differs: many options leave a mark even when they are set to what they were. One
 * that this kernel or this user cannot set is left as it is. */
static void set_value(int fd, const struct descriptor_option_value *value)
{
	uint8_t current[DESCRIPTOR_OPTION_BYTES];
	socklen_t length = sizeof(current);
	uint32_t option = value->option;
	if (option != DESCRIPTOR_OPTION_RCVBUF && option != DESCRIPTOR_OPTION_SNDBUF &&
	    getsockopt(fd, options[option].level, options[option].option, current, &length) == 0 &&
	    length == value->length && memcmp(current, value->value, length) == 0)
		return;
	setsockopt(fd, options[option].level, options[option].option, value->value, value->length);
}

/* What is in the way of binding a socket or of putting back its contents, and so comes last. */
static bool comes_last(uint32_t option)
{
	switch (option) {
	case DESCRIPTOR_OPTION_REUSEADDR:
	case DESCRIPTOR_OPTION_PASSCRED: /* adds who sends to messages that do not say, and names sockets */
	case DESCRIPTOR_OPTION_PASSPIDFD:
	case DESCRIPTOR_OPTION_RCVLOWAT:
	case DESCRIPTOR_OPTION_PEEK_OFF:
	case DESCRIPTOR_OPTION_LINGER:
	case DESCRIPTOR_OPTION_CORK:
	case DESCRIPTOR_OPTION_RCVTIMEO:
	case DESCRIPTOR_OPTION_SNDTIMEO: return true;
	default: return false;
	}
}

static void set_values(int fd, const struct entry *entry, bool last)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	for (uint32_t i = 0; i < recorded->option_count; i++) {
		const struct descriptor_option_value value = value_at(entry, i);
		if (comes_last(value.option) == last)
			set_value(fd, &value);
	}
}

bool restore_get_option(const struct entry *entry, uint32_t option, int *number)
{
	const struct descriptor_socket *recorded = PAYLOAD(entry, struct descriptor_socket);
	for (uint32_t i = 0; i < recorded->option_count; i++) {
		const struct descriptor_option_value value = value_at(entry, i);
		if (value.option == option && value.length == sizeof(*number)) {
			memcpy(number, value.value, sizeof(*number));
			return true;
		}
	}
	*number = options[option].usual;
	return false;
}

static void set_number(int fd, const struct entry *entry, uint32_t option)
{
	int number, current = 0;
	socklen_t length = sizeof(current);
	restore_get_option(entry, option, &number);
	if (getsockopt(fd, options[option].level, options[option].option, &current, &length) == 0 && current != number)
		setsockopt(fd, options[option].level, options[option].option, &number, sizeof(number));
}

void restore_set_options(int fd, const struct entry *entry)
{
	set_values(fd, entry, false);
}

/* Two of them restore has changed for its own ends, whether recorded or not. */
void restore_set_last_options(int fd, const struct entry *entry)
{
	set_number(fd, entry, DESCRIPTOR_OPTION_REUSEADDR);
	set_number(fd, entry, DESCRIPTOR_OPTION_RCVLOWAT);
	set_values(fd, entry, true);
}
