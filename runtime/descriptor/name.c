/*
 * Names of descriptors: the links of /proc/self/fd, kept in two blocks of which one is in use. They are read again when
 * fstat() shows a change, when the program has renamed a directory, and a few by each prepare.
 */
#include <limits.h>
#include <string.h>

#include "base/message.h"
#include "descriptor/descriptor.h"
#include "descriptor/table.h"

#define NAMES_REFRESHED 16 /* names read again by each prepare: a renamed parent shows nowhere else */

const char *rt_descriptor_name(const struct descriptor_table *table, const struct descriptor *descriptor)
{
	return descriptor->name_length ? table->names[table->name_block].bytes + descriptor->name : "";
}

int rt_descriptor_read_name(struct descriptor_table *table, struct descriptor *descriptor)
{
	struct descriptor_block *names = &table->names[table->name_block];
	char number[16];
	if (rt_descriptor_reserve(names, table->names_used + PATH_MAX + 1) < 0)
		return -ENOMEM;
	rt_format(number, sizeof(number), "%d", descriptor->number);
	char *name = names->bytes + table->names_used;
	int length = rt_sys_readlinkat(rt_descriptor_directory(table, descriptor->number), number, name, PATH_MAX);
	if (length < 0)
		return length == -ENOENT ? -EBADF : length;
	name[length++] = '\0';
	const char *known = rt_descriptor_name(table, descriptor);
	if (descriptor->name_length == (uint32_t)length && memcmp(known, name, (size_t)length) == 0)
		return 0;
	descriptor->name = (uint32_t)table->names_used;
	descriptor->name_length = (uint32_t)length;
	table->names_used += (size_t)length;
	return 0;
}

int rt_descriptor_compact_names(struct descriptor_table *table)
{
	const struct descriptor_block *old = &table->names[table->name_block];
	struct descriptor_block *names = &table->names[!table->name_block];
	size_t used = 0;
	if (rt_descriptor_reserve(names, table->names_used + 1) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->name_length == 0)
			continue;
		memcpy(names->bytes + used, old->bytes + descriptor->name, descriptor->name_length);
		descriptor->name = (uint32_t)used;
		used += descriptor->name_length;
	}
	table->name_block = !table->name_block;
	table->names_used = used;
	return 0;
}

/* In the image: what was noted before a checkpoint is not noted again by the restored process. */
static uint32_t directory_renames;

void rt_descriptors_note_directory_renamed(void)
{
	__atomic_add_fetch(&directory_renames, 1, __ATOMIC_RELEASE);
}

void rt_descriptor_refresh_renamed(struct descriptor_table *table)
{
	uint32_t renames = __atomic_load_n(&directory_renames, __ATOMIC_ACQUIRE);
	if (renames == table->renames_seen)
		return;
	table->renames_seen = renames;
	for (size_t i = 0; i < table->count; i++)
		table->entries[i].name_stale = true;
}

void rt_descriptor_refresh_some_names(struct descriptor_table *table)
{
	for (size_t i = 0; i < NAMES_REFRESHED && i < table->count; i++) {
		if (table->refresh_next >= table->count)
			table->refresh_next = 0;
		table->entries[table->refresh_next++].name_stale = true;
	}
}
