/* Reading the descriptor records of a manifest: every length and number is checked here, once. */
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "restore/descriptors/private.h"

#define WATCH_LIMIT (1 << 24) /* watch descriptors; more take minutes to count up to */

/* ---- payloads ---- */

bool restore_each_message(const struct entry *entry, size_t start, restore_message *use, void *context)
{
	size_t at = start, end = entry->record.payload_length;
	while (at < end) {
		struct descriptor_message message;
		if (end - at < sizeof(message))
			return false;
		memcpy(&message, entry->payload + at, sizeof(message));
		at += sizeof(message);
		size_t padded = ((size_t)message.length + 7) & ~(size_t)7;
		size_t rights = (message.rights * sizeof(int32_t) + 7) & ~(size_t)7;
		size_t credentials = message.has_credentials ? sizeof(struct descriptor_credentials) : 0;
		if (padded > end - at || message.address_length > message.length ||
		    message.address_length > sizeof(struct sockaddr_storage) || message.rights > DESCRIPTOR_RIGHTS ||
		    message.has_credentials > 1 || rights + credentials > end - at - padded)
			return false;
		const struct message found = {
			.bytes = entry->payload + at,
			.length = message.length,
			.address_length = message.address_length,
			.rights = (const int32_t *)(const void *)(entry->payload + at + padded),
			.right_count = message.rights,
			.credentials =
				message.has_credentials ? (const void *)(entry->payload + at + padded + rights) : NULL,
		};
		if (use != NULL && !use(context, &found))
			return false;
		at += padded + rights + credentials;
	}
	return at == end;
}

static bool valid_nothing(const struct entry *entry)
{
	(void)entry;
	return true;
}

static bool valid_file(const struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	return *entry->name == '/' && file->offset >= 0 && file->size <= INT64_MAX;
}

static bool valid_deleted(const struct entry *entry)
{
	const struct descriptor_file *file = PAYLOAD(entry, struct descriptor_file);
	size_t at = sizeof(*file), end = entry->record.payload_length;
	if (file->offset < 0 || file->size > INT64_MAX)
		return false;
	while (at < end) {
		struct descriptor_extent extent;
		if (end - at < sizeof(extent))
			return false;
		memcpy(&extent, entry->payload + at, sizeof(extent));
		at += sizeof(extent);
		if (extent.length > end - at || extent.offset > file->size ||
		    extent.length > file->size - extent.offset)
			return false;
		at += (extent.length + 7) & ~7UL;
	}
	return at == end;
}

static bool valid_path(const struct entry *entry)
{
	return *entry->name == '/';
}

static bool valid_pipe(const struct entry *entry)
{
	return restore_each_message(entry, sizeof(struct descriptor_pipe), NULL, NULL);
}

static bool valid_fifo(const struct entry *entry)
{
	return *entry->name == '/' && valid_pipe(entry);
}

static bool valid_timerfd(const struct entry *entry)
{
	const struct descriptor_timerfd *timer = PAYLOAD(entry, struct descriptor_timerfd);
	return timer->value_ns >= 0 && timer->interval_ns >= 0;
}

static bool valid_epoll(const struct entry *entry)
{
	const struct descriptor_epoll *epoll = PAYLOAD(entry, struct descriptor_epoll);
	return epoll->count == (entry->record.payload_length - sizeof(*epoll)) / sizeof(struct descriptor_interest);
}

static bool valid_inotify(const struct entry *entry)
{
	size_t at = sizeof(struct descriptor_inotify), end = entry->record.payload_length;
	for (uint32_t i = 0; i < PAYLOAD(entry, struct descriptor_inotify)->watches; i++) {
		struct descriptor_watch watch;
		if (end - at < sizeof(watch))
			return false;
		memcpy(&watch, entry->payload + at, sizeof(watch));
		at += sizeof(watch);
		if (watch.number <= 0 || watch.number > WATCH_LIMIT || watch.path_length > end - at ||
		    (watch.path_length > 0 && entry->payload[at + watch.path_length - 1] != '\0'))
			return false;
		at += (watch.path_length + 7UL) & ~7UL;
		if (at > end)
			return false;
	}
	return at == end;
}

static bool valid_address(const struct sockaddr_storage *address, uint32_t length, uint32_t family)
{
	return length == 0 || (length >= sizeof(sa_family_t) && address->ss_family == family);
}

static bool valid_family(uint32_t family)
{
	return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

static bool valid_type(uint32_t type)
{
	return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET || type == SOCK_RAW;
}

static bool valid_socket(const struct entry *entry)
{
	const struct descriptor_socket *socket = PAYLOAD(entry, struct descriptor_socket);
	if (!valid_family(socket->family) || !valid_type(socket->type) || socket->backlog < 0 ||
	    !restore_valid_options(entry))
		return false;
	const struct sockaddr_storage local = restore_local_address(entry), peer = restore_peer_address(entry);
	return valid_address(&local, socket->local_length, socket->family) &&
	       valid_address(&peer, socket->peer_length, socket->family) &&
	       restore_each_message(entry, restore_socket_messages(entry), NULL, NULL) && restore_valid_answer(entry);
}

static bool valid_pair(const struct entry *entry)
{
	return valid_socket(entry) && PAYLOAD(entry, struct descriptor_socket)->family == AF_UNIX;
}

/* Per kind: the least the payload holds, and what else must be true of it. */
static const struct {
	size_t size;
	bool (*valid)(const struct entry *entry);
} payloads[DESCRIPTOR_KINDS] = {
	[DESCRIPTOR_LOST] = {0, valid_nothing},
	[DESCRIPTOR_REGULAR] = {sizeof(struct descriptor_file), valid_file},
	[DESCRIPTOR_DELETED] = {sizeof(struct descriptor_file), valid_deleted},
	[DESCRIPTOR_DIRECTORY] = {sizeof(struct descriptor_file), valid_file},
	[DESCRIPTOR_DEVICE] = {sizeof(struct descriptor_file), valid_file},
	[DESCRIPTOR_TERMINAL] = {sizeof(struct descriptor_terminal), valid_nothing},
	[DESCRIPTOR_PATH] = {0, valid_path},
	[DESCRIPTOR_PIPE] = {sizeof(struct descriptor_pipe), valid_pipe},
	[DESCRIPTOR_FIFO] = {sizeof(struct descriptor_pipe), valid_fifo},
	[DESCRIPTOR_EVENTFD] = {sizeof(struct descriptor_eventfd), valid_nothing},
	[DESCRIPTOR_TIMERFD] = {sizeof(struct descriptor_timerfd), valid_timerfd},
	[DESCRIPTOR_SIGNALFD] = {sizeof(struct descriptor_signalfd), valid_nothing},
	[DESCRIPTOR_INOTIFY] = {sizeof(struct descriptor_inotify), valid_inotify},
	[DESCRIPTOR_EPOLL] = {sizeof(struct descriptor_epoll), valid_epoll},
	[DESCRIPTOR_LISTENING] = {sizeof(struct descriptor_socket), valid_socket},
	[DESCRIPTOR_UNCONNECTED] = {sizeof(struct descriptor_socket), valid_socket},
	[DESCRIPTOR_PAIR] = {sizeof(struct descriptor_socket), valid_pair},
	[DESCRIPTOR_CONNECTION] = {sizeof(struct descriptor_socket), valid_socket},
	[DESCRIPTOR_MASTER] = {sizeof(struct descriptor_terminal), valid_nothing},
	[DESCRIPTOR_PIDFD] = {sizeof(struct descriptor_pidfd), valid_nothing},
	[DESCRIPTOR_QUEUE] = {sizeof(struct descriptor_queue), valid_path},
};

/* ---- records ---- */

/* One that shares another's open file description refers to an earlier record of its kind. */
static bool valid_sharing(struct restoration *restoration, const struct manifest_descriptor *record)
{
	const struct entry *first = restore_find(restoration, record->shared_with);
	return first != NULL && first->record.shared_with == -1 && first->record.kind == record->kind &&
	       record->payload_length == 0;
}

static bool parse_record(struct restoration *restoration, struct entry *entry, const void *payload, uint32_t length)
{
	struct manifest_descriptor *record = &entry->record;
	if (length < sizeof(*record))
		return false;
	memcpy(record, payload, sizeof(*record));
	size_t room = length - sizeof(*record);
	if (record->payload_length > room || record->payload_length % 8 != 0 ||
	    record->name_length > room - record->payload_length || record->kind < DESCRIPTOR_LOST ||
	    record->kind >= DESCRIPTOR_KINDS || record->number < 0 || record->number == INT32_MAX ||
	    record->in_flight > 1 || (record->in_flight && record->number < 3))
		return false;
	const struct entry *last = restoration->count > 0 ? &restoration->entries[restoration->count - 1] : NULL;
	if (last != NULL && (record->number <= last->record.number || record->in_flight < last->record.in_flight))
		return false;
	entry->payload = (const uint8_t *)payload + sizeof(*record);
	entry->temporary = -1;
	entry->name = "";
	if (record->name_length > 0)
		entry->name = rt_manifest_string(payload, length, sizeof(*record) + record->payload_length,
						 record->name_length);
	if (entry->name == NULL)
		return false;
	if (record->shared_with != -1)
		return valid_sharing(restoration, record);
	return record->payload_length >= payloads[record->kind].size && payloads[record->kind].valid(entry);
}

static int add_entry(struct restoration *restoration, const void *payload, uint32_t length)
{
	struct entry entry = {0};
	if (!parse_record(restoration, &entry, payload, length))
		return restore_refuse(restoration, "the store's list of descriptors is damaged");
	if (entry.record.number >= restoration->keep_from && !entry.record.in_flight)
		return restore_refuse(restoration,
				      "descriptor %d of the program is out of reach: raise the limit of open "
				      "files (ulimit -n) to more than %d",
				      entry.record.number, entry.record.number);
	struct entry *grown = restoration->entries;
	if ((restoration->count & (restoration->count - 1)) == 0) /* full at each power of two */
		grown = realloc(grown, (restoration->count ? 2 * restoration->count : 1) * sizeof(entry));
	if (grown == NULL)
		return restore_refuse(restoration, "out of memory");
	restoration->entries = grown;
	restoration->entries[restoration->count++] = entry;
	return 0;
}

/* ---- what messages carry ---- */

struct carrying {
	struct restoration *restoration;
	struct entry *entry;
};

static bool check_rights(void *context, const struct message *message)
{
	struct carrying *carrying = context;
	for (uint32_t i = 0; i < message->right_count; i++) {
		const struct entry *right = restore_find(carrying->restoration, message->rights[i]);
		if (right == NULL || !right->record.in_flight)
			return false;
		carrying->entry->carries = true;
	}
	return true;
}

/* Only those of unix sockets can carry anything. */
static bool valid_rights(struct restoration *restoration, struct entry *entry)
{
	struct carrying carrying = {restoration, entry};
	switch (entry->record.kind) {
	case DESCRIPTOR_UNCONNECTED:
	case DESCRIPTOR_PAIR:
	case DESCRIPTOR_CONNECTION: break;
	default: return true;
	}
	return entry->record.shared_with >= 0 ||
	       (restore_each_message(entry, restore_socket_messages(entry), check_rights, &carrying) &&
		(!entry->carries || PAYLOAD(entry, struct descriptor_socket)->family == AF_UNIX));
}

static int check_all_rights(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->count; i++)
		if (!valid_rights(restoration, &restoration->entries[i]))
			return restore_refuse(restoration, "the store's list of descriptors is damaged");
	return 0;
}

int restore_parse(struct restoration *restoration, const void *manifest, size_t length)
{
	struct manifest_reader reader = {.bytes = manifest, .length = length};
	struct manifest_process process;
	const void *payload;
	uint32_t kind, size;
	int result;
	while ((result = rt_manifest_next(&reader, &kind, &payload, &size)) > 0) {
		if (kind == MANIFEST_PROCESS && size >= sizeof(process)) {
			memcpy(&process, payload, sizeof(process));
			restoration->pid = process.pid;
		}
		if (kind == MANIFEST_DESCRIPTOR && add_entry(restoration, payload, size) < 0)
			return -1;
		if (kind == MANIFEST_LOCK && restore_add_lock(restoration, payload, size) < 0)
			return -1;
	}
	return result < 0 ? restore_refuse(restoration, "the store's manifest is damaged")
			  : check_all_rights(restoration);
}
