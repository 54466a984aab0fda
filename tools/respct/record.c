/* respct inspect: one line for each record of a manifest. */
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "common/plain.h"
#include "common/processor.h"
#include "descriptor/descriptor.h"
#include "manifest.h"

static void print_process(struct store *store, const void *payload, uint32_t length)
{
	const struct manifest_process *process = payload;
	(void)store, (void)length;
	printf("process %d, user %u, group %u, %u threads\n", process->pid, process->uid[0], process->gid[0],
	       process->thread_count);
}

static void print_path(struct store *store, const void *payload, uint32_t length)
{
	const struct manifest_path *path = payload;
	const char *text = rt_manifest_string(payload, length, sizeof(*path), path->length);
	(void)store;
	printf("%s %s\n", path->role != PATH_EXECUTABLE ? "directory" : "program", plain_text(text));
}

static void print_region(struct store *store, const void *payload, uint32_t length)
{
	static const char *const kinds[] = {"?",      "private", "private file",      "shared file",
					    "shared", "kernel",  "shared memory file"};
	const struct manifest_region *region = payload;
	const char *path =
		region->path_length ? rt_manifest_string(region, length, sizeof(*region), region->path_length) : "";
	printf("region %012lx-%012lx %c%c%c %-12s %8lu pages  %s\n", (unsigned long)region->start,
	       (unsigned long)region->end, region->prot & 1 ? 'r' : '-', region->prot & 2 ? 'w' : '-',
	       region->prot & 4 ? 'x' : '-', kinds[region->kind <= REGION_FILE_MEMORY ? region->kind : 0],
	       (unsigned long)rt_store_count(store, region->start, region->end), plain_text(path));
}

static size_t padded(size_t length)
{
	return (length + 7) & ~(size_t)7;
}

/* Where the messages start that a socket had not read; beyond the payload: nowhere. */
static size_t find_messages(const struct manifest_descriptor *descriptor, const uint8_t *payload)
{
	struct descriptor_socket socket;
	switch (descriptor->kind) {
	case DESCRIPTOR_UNCONNECTED:
	case DESCRIPTOR_PAIR:
	case DESCRIPTOR_CONNECTION: break;
	default: return SIZE_MAX;
	}
	if (descriptor->payload_length < sizeof(socket))
		return SIZE_MAX;
	memcpy(&socket, payload, sizeof(socket));
	if (socket.option_count > DESCRIPTOR_OPTIONS)
		return SIZE_MAX;
	return sizeof(socket) + socket.option_count * sizeof(struct descriptor_option_value) +
	       padded(socket.local_length) + padded(socket.peer_length) + socket.membership_length;
}

/* The numbers of the descriptors in flight that the messages of a socket carry. */
static void print_carried(const struct manifest_descriptor *descriptor, const uint8_t *payload)
{
	size_t at = find_messages(descriptor, payload), end = descriptor->payload_length;
	struct descriptor_message message;
	const char *before = " carries";
	while (at < end && end - at >= sizeof(message)) {
		memcpy(&message, payload + at, sizeof(message));
		at += sizeof(message) + padded(message.length);
		if (message.rights > DESCRIPTOR_RIGHTS || at > end || end - at < message.rights * sizeof(int32_t))
			break;
		for (uint32_t i = 0; i < message.rights; i++, before = ",") {
			int32_t number;
			memcpy(&number, payload + at + i * sizeof(number), sizeof(number));
			printf("%s %d", before, number);
		}
		at += padded(message.rights * sizeof(int32_t)) +
		      (message.has_credentials ? sizeof(struct descriptor_credentials) : 0);
	}
}

static void print_descriptor(struct store *store, const void *payload, uint32_t length)
{
	static const char *const kinds[DESCRIPTOR_KINDS] = {
		"?",         "lost",        "file",       "file without a name",
		"directory", "device",      "terminal",   "path",
		"pipe",      "fifo",        "eventfd",    "timerfd",
		"signalfd",  "inotify",     "epoll",      "listening socket",
		"socket",    "socket pair", "connection", "pseudo-terminal master",
		"process"};
	const struct manifest_descriptor *descriptor = payload;
	(void)store;
	size_t name_at = sizeof(*descriptor) + descriptor->payload_length;
	const char *name =
		descriptor->name_length ? rt_manifest_string(payload, length, name_at, descriptor->name_length) : "";
	printf("descriptor %d %s %s", descriptor->number,
	       kinds[descriptor->kind < DESCRIPTOR_KINDS ? descriptor->kind : 0], plain_text(name));
	if (descriptor->shared_with >= 0)
		printf(" shared with %d", descriptor->shared_with);
	else if (length - sizeof(*descriptor) >= descriptor->payload_length)
		print_carried(descriptor, (const uint8_t *)payload + sizeof(*descriptor));
	if (descriptor->in_flight)
		printf(", in flight");
	printf("\n");
}

static void print_thread(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_thread *thread = payload;
	char name[sizeof(thread->name) + 1];
	snprintf(name, sizeof(name), "%.*s", (int)sizeof(thread->name), thread->name);
	printf("thread %d \"%s\" at %012lx\n", thread->tid, make_plain(name), (unsigned long)thread->context);
}

static void print_file_bytes(struct store *store, const void *payload, uint32_t length)
{
	(void)store;
	const struct manifest_file_bytes *bytes = payload;
	const char *path = rt_manifest_string(payload, length, sizeof(*bytes), bytes->path_length);
	printf("%lu bytes at %lu of mapped file %s\n", (unsigned long)bytes->length, (unsigned long)bytes->offset,
	       plain_text(path));
}

static void print_owner(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_owner *owner = payload;
	printf("descriptor %d tells %d by signal %d%s\n", owner->number, owner->pid, owner->signal,
	       owner->async ? ", asynchronous" : "");
}

static void print_lock(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	static const char *const kinds[] = {"?", "flock", "fcntl", "open file description"};
	const struct manifest_lock *lock = payload;
	printf("lock of descriptor %d, %s, %s\n", lock->number, kinds[lock->kind <= LOCK_OFD ? lock->kind : 0],
	       lock->exclusive ? "exclusive" : "shared");
}

static void print_undo(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_undo *undo = payload;
	printf("undo log from file %lu, byte %lu on\n", (unsigned long)undo->generation, (unsigned long)undo->offset);
}

static void print_action(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_signal *action = payload;
	printf("signal %u %s\n", action->number, action->handler == 1 ? "ignored" : "caught");
}

static void print_processor(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_processor *processor = payload;
	char names[1024];
	processor_missing(processor, NULL, names, sizeof(names));
	char model[sizeof(processor->name) + 1];
	snprintf(model, sizeof(model), "%.*s", (int)sizeof(processor->name), processor->name);
	printf("processor %s: %s\n", make_plain(model), names);
}

static void print_advice(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_advice *advice = payload;
	printf("advice %012lx-%012lx %s0x%x\n", (unsigned long)advice->start, (unsigned long)advice->end,
	       advice->flags & ADVICE_GUARD ? "guard region " : "", advice->flags);
}

static void print_segment(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_segment *segment = payload;
	printf("System V segment %d, key 0x%08x, %lu bytes\n", segment->id, (unsigned)segment->key,
	       (unsigned long)segment->size);
}

static void print_queued_signal(struct store *store, const void *payload, uint32_t length)
{
	(void)store, (void)length;
	const struct manifest_queued_signal *queued = payload;
	if (queued->tid == 0)
		printf("pending signal %d\n", queued->number);
	else
		printf("pending signal %d for thread %d\n", queued->number, queued->tid);
}

/* A record shorter than its structure, or of another length where nothing follows, is not shown. */
static const struct {
	uint32_t kind;
	uint32_t length; /* of the structure, bytes */
	bool exact;      /* nothing follows it */
	void (*print)(struct store *store, const void *payload, uint32_t length);
} printers[] = {
	{MANIFEST_PROCESS, sizeof(struct manifest_process), true, print_process},
	{MANIFEST_PATH, sizeof(struct manifest_path), false, print_path},
	{MANIFEST_REGION, sizeof(struct manifest_region), false, print_region},
	{MANIFEST_THREAD, sizeof(struct manifest_thread), true, print_thread},
	{MANIFEST_DESCRIPTOR, sizeof(struct manifest_descriptor), false, print_descriptor},
	{MANIFEST_FILE_BYTES, sizeof(struct manifest_file_bytes), false, print_file_bytes},
	{MANIFEST_OWNER, sizeof(struct manifest_owner), true, print_owner},
	{MANIFEST_LOCK, sizeof(struct manifest_lock), true, print_lock},
	{MANIFEST_UNDO, sizeof(struct manifest_undo), true, print_undo},
	{MANIFEST_SIGNAL, sizeof(struct manifest_signal), true, print_action},
	{MANIFEST_PROCESSOR, sizeof(struct manifest_processor), true, print_processor},
	{MANIFEST_ADVICE, sizeof(struct manifest_advice), true, print_advice},
	{MANIFEST_SEGMENT, sizeof(struct manifest_segment), true, print_segment},
	{MANIFEST_QUEUED_SIGNAL, sizeof(struct manifest_queued_signal), true, print_queued_signal},
};

void print_record(struct store *store, uint32_t kind, const void *payload, uint32_t length)
{
	for (size_t i = 0; i < sizeof(printers) / sizeof(printers[0]); i++)
		if (printers[i].kind == kind &&
		    (printers[i].exact ? length == printers[i].length : length >= printers[i].length))
			printers[i].print(store, payload, length);
}
