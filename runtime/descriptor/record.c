/* The records of descriptors in the manifest; see struct manifest_descriptor. In the stop. */
#include <string.h>

#include "descriptor/descriptor.h"
#include "descriptor/table.h"

static descriptor_capture *const captures[DESCRIPTOR_KINDS] = {
	[DESCRIPTOR_REGULAR] = rt_descriptor_capture_file,
	[DESCRIPTOR_DELETED] = rt_descriptor_capture_deleted,
	[DESCRIPTOR_DIRECTORY] = rt_descriptor_capture_file,
	[DESCRIPTOR_DEVICE] = rt_descriptor_capture_file,
	[DESCRIPTOR_TERMINAL] = rt_descriptor_capture_terminal,
	[DESCRIPTOR_MASTER] = rt_descriptor_capture_terminal,
	[DESCRIPTOR_PIDFD] = rt_descriptor_capture_pidfd,
	[DESCRIPTOR_PIPE] = rt_descriptor_capture_pipe,
	[DESCRIPTOR_FIFO] = rt_descriptor_capture_pipe,
	[DESCRIPTOR_EVENTFD] = rt_descriptor_capture_eventfd,
	[DESCRIPTOR_TIMERFD] = rt_descriptor_capture_timerfd,
	[DESCRIPTOR_SIGNALFD] = rt_descriptor_capture_signalfd,
	[DESCRIPTOR_INOTIFY] = rt_descriptor_capture_inotify,
	[DESCRIPTOR_EPOLL] = rt_descriptor_capture_epoll,
	[DESCRIPTOR_LISTENING] = rt_descriptor_capture_socket,
	[DESCRIPTOR_UNCONNECTED] = rt_descriptor_capture_socket,
	[DESCRIPTOR_PAIR] = rt_descriptor_capture_pair,
	[DESCRIPTOR_CONNECTION] = rt_descriptor_capture_connection,
	[DESCRIPTOR_QUEUE] = rt_descriptor_capture_queue,
};

int rt_descriptor_lost(struct descriptor *descriptor, const char *reason)
{
	descriptor->reason = reason;
	return -EOPNOTSUPP;
}

/* Payloads start 8-byte aligned in the manifest, so its length is the measure. */
void rt_descriptor_pad(struct manifest_writer *writer)
{
	static const uint8_t zeros[8];
	rt_manifest_put(writer, zeros, -writer->length & 7);
}

void rt_descriptor_put_message(struct manifest_writer *writer, const void *bytes, size_t length, size_t address_length)
{
	struct descriptor_message message = {.length = (uint32_t)length, .address_length = (uint32_t)address_length};
	rt_manifest_put(writer, &message, sizeof(message));
	rt_manifest_put(writer, bytes, length);
	rt_descriptor_pad(writer);
}

static int capture_kind(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer)
{
	if (descriptor->kind != DESCRIPTOR_LOST)
		descriptor->reason = NULL;
	descriptor_capture *capture = captures[descriptor->kind];
	return capture ? capture(table, descriptor, writer) : 0;
}

static int put_payload(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer)
{
	const struct descriptor *first;
	descriptor->recorded_kind = descriptor->kind;
	if (descriptor->shared_with >= 0) {
		first = rt_descriptor_find(table, descriptor->shared_with);
		descriptor->recorded_kind = first ? first->recorded_kind : DESCRIPTOR_LOST;
		return 0;
	}
	size_t start = writer->length;
	int result = capture_kind(table, descriptor, writer);
	if (result == -ESTALE) {
		/* Another anonymous inode by now: fstat shows them all alike. */
		writer->length = start;
		descriptor->fresh = true;
		rt_descriptor_recognise(table, descriptor);
		descriptor->recorded_kind = descriptor->kind;
		result = capture_kind(table, descriptor, writer);
	}
	if (result >= 0 || result == -ENOMEM || result == -EMFILE || result == -ENFILE || result == -ECANCELED)
		return result;
	if (result != -EOPNOTSUPP)
		descriptor->reason = "cannot be restored: its state cannot be read";
	writer->length = start;
	descriptor->recorded_kind = DESCRIPTOR_LOST;
	return 0;
}

static int put_record(struct descriptor_table *table, struct descriptor *descriptor, struct manifest_writer *writer)
{
	struct manifest_descriptor record = {
		.number = descriptor->number,
		.flags = descriptor->flags,
		.close_on_exec = descriptor->close_on_exec,
		.shared_with = descriptor->shared_with,
		.mode = descriptor->mode,
		.device = descriptor->device,
		.inode = descriptor->inode,
		.in_flight = descriptor->in_flight,
	};
	rt_manifest_begin(writer, MANIFEST_DESCRIPTOR);
	size_t start = writer->length;
	rt_manifest_put(writer, &record, sizeof(record));
	int result = put_payload(table, descriptor, writer);
	if (result < 0)
		return result;
	rt_descriptor_pad(writer);
	record.kind = descriptor->recorded_kind;
	record.payload_length = (uint32_t)(writer->length - start - sizeof(record));
	record.name_length = descriptor->shared_with >= 0 ? 0 : descriptor->name_length;
	rt_manifest_put(writer, rt_descriptor_name(table, descriptor), record.name_length);
	if (!writer->failed)
		memcpy(writer->bytes + start, &record, sizeof(record));
	rt_manifest_end(writer);
	return writer->failed ? -ENOMEM : 0;
}

int rt_descriptor_put_all(struct descriptor_table *table, struct manifest_writer *writer)
{
	int result = rt_descriptor_find_peers(table);
	for (size_t i = 0; i < table->count && result == 0; i++)
		result = put_record(table, &table->entries[i], writer);
	if (result < 0)
		return result;
	rt_descriptor_capture_owners(table, writer);
	return rt_descriptor_capture_locks(table, writer);
}
