/*
 * Who is told of input by a signal, and by which: fcntl(F_SETOWN), F_SETSIG, O_ASYNC. Looked for when a
 * descriptor is O_ASYNC or the program has ever named an owner; set again by rt_resume(), when the
 * process and its threads exist.
 */
#include "descriptor/table.h"

/* In the image: a restored program has named one before. */
static uint32_t program_owners;

void rt_descriptors_note_owner(void)
{
	if (__atomic_load_n(&program_owners, __ATOMIC_RELAXED) == 0)
		__atomic_store_n(&program_owners, 1, __ATOMIC_RELEASE);
}

static void put_owner(struct descriptor *descriptor, struct manifest_writer *writer)
{
	struct f_owner_ex owner = {0};
	int signal = rt_sys_fcntl(descriptor->number, F_GETSIG, 0);
	rt_sys_fcntl(descriptor->number, F_GETOWN_EX, (long)&owner);
	struct manifest_owner record = {
		.number = descriptor->number,
		.type = owner.type,
		.pid = owner.pid,
		.signal = signal < 0 ? 0 : signal,
		.async = (descriptor->flags & O_ASYNC) != 0,
	};
	if (record.pid == 0 && record.signal == 0 && !record.async)
		return;
	if (descriptor->in_flight) /* without a number there is nothing to set it by */
		descriptor->reason = "will be restored without its owner (F_SETOWN)";
	else
		rt_manifest_add(writer, MANIFEST_OWNER, &record, sizeof(record));
}

void rt_descriptor_capture_owners(struct descriptor_table *table, struct manifest_writer *writer)
{
	bool all = __atomic_load_n(&program_owners, __ATOMIC_ACQUIRE) != 0;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->shared_with < 0 && !(descriptor->flags & O_PATH) &&
		    (all || (descriptor->flags & O_ASYNC)))
			put_owner(descriptor, writer);
	}
}

/* A descriptor that could not be restored, or an owner that is gone, is left out. */
static void set_owner(const struct manifest_owner *record)
{
	struct f_owner_ex owner = {.type = record->type, .pid = record->pid};
	if (record->pid != 0)
		rt_sys_fcntl(record->number, F_SETOWN_EX, (long)&owner);
	if (record->signal != 0)
		rt_sys_fcntl(record->number, F_SETSIG, record->signal);
	int flags = record->async ? rt_sys_fcntl(record->number, F_GETFL, 0) : -EBADF;
	if (flags >= 0)
		rt_sys_fcntl(record->number, F_SETFL, flags | O_ASYNC);
}

void rt_descriptors_own_again(const void *manifest, size_t length)
{
	struct manifest_reader reader = {.bytes = manifest, .length = length};
	uint32_t kind, size;
	const void *payload;
	while (manifest != NULL && rt_manifest_next(&reader, &kind, &payload, &size) == 1)
		if (kind == MANIFEST_OWNER && size == sizeof(struct manifest_owner))
			set_owner(payload);
}
