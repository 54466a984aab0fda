#include "medium.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCKS (MEDIUM_BYTES / MEDIUM_BLOCK)

void give_up(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fflush(stdout);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

void *must_have(void *block, size_t bytes)
{
	void *moved = realloc(block, bytes);
	if (moved == NULL)
		give_up("out of memory");
	return moved;
}

/* ---- the journal: what stood where, newest last ---- */

enum entry_kind { ENTRY_BYTES, ENTRY_BLOCK, ENTRY_SIZE, ENTRY_NAME };

struct entry {
	enum entry_kind kind;
	enum medium_file file;
	uint64_t offset; /* or the old size, name, or flag of a block */
	uint64_t length;
	size_t data; /* where the bytes are in journal.data */
};

static struct {
	struct world *world;
	struct entry *entries;
	size_t count, capacity;
	unsigned char *data;
	size_t used, room;
} journal;

static void note(struct world *world, struct entry entry, const void *old)
{
	if (world != journal.world)
		return;
	if (journal.count == journal.capacity) {
		journal.capacity = journal.capacity ? 2 * journal.capacity : 4096;
		journal.entries = must_have(journal.entries, journal.capacity * sizeof(entry));
	}
	if (old != NULL) {
		while (journal.used + entry.length > journal.room) {
			journal.room = journal.room ? 2 * journal.room : 1 << 20;
			journal.data = must_have(journal.data, journal.room);
		}
		entry.data = journal.used;
		memcpy(journal.data + journal.used, old, entry.length);
		journal.used += entry.length;
	}
	journal.entries[journal.count++] = entry;
}

void journal_start(struct world *world)
{
	journal.world = world;
	journal_forget();
}

size_t journal_mark(void)
{
	return journal.count;
}

void journal_forget(void)
{
	journal.count = journal.used = 0;
}

void journal_revert(size_t mark)
{
	while (journal.count > mark) {
		const struct entry *entry = &journal.entries[--journal.count];
		struct medium *medium = &journal.world->files[entry->file];
		switch (entry->kind) {
		case ENTRY_BYTES:
			memcpy(medium->bytes + entry->offset, journal.data + entry->data, entry->length);
			journal.used = entry->data;
			break;
		case ENTRY_BLOCK: medium->used[entry->offset] = (unsigned char)entry->length; break;
		case ENTRY_SIZE: medium->size = entry->offset; break;
		case ENTRY_NAME: medium->name = (enum medium_name)entry->offset; break;
		}
	}
}

/* ---- changes ---- */

static void *reserve(size_t bytes)
{
	void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (block == MAP_FAILED)
		give_up("no address space");
	return block;
}

struct world *world_new(void)
{
	struct world *world = reserve(sizeof(*world));
	for (int i = 0; i < MEDIUM_FILES; i++) {
		world->files[i].bytes = reserve(MEDIUM_BYTES);
		world->files[i].used = reserve(BLOCKS);
	}
	return world;
}

static void set_used(struct world *world, enum medium_file file, uint64_t block, bool used)
{
	unsigned char *flag = &world->files[file].used[block];
	if (*flag == used)
		return;
	note(world, (struct entry){.kind = ENTRY_BLOCK, .file = file, .offset = block, .length = *flag}, NULL);
	*flag = used;
}

void world_write(struct world *world, enum medium_file file, uint64_t offset, const void *bytes, uint64_t length)
{
	struct medium *medium = &world->files[file];
	if (length == 0)
		return;
	if (offset > MEDIUM_BYTES || length > MEDIUM_BYTES - offset)
		give_up("file %d grows beyond what this test can hold", file);
	note(world, (struct entry){.kind = ENTRY_BYTES, .file = file, .offset = offset, .length = length},
	     medium->bytes + offset);
	memcpy(medium->bytes + offset, bytes, length);
	for (uint64_t block = offset / MEDIUM_BLOCK; block <= (offset + length - 1) / MEDIUM_BLOCK; block++)
		set_used(world, file, block, true);
}

void world_zero(struct world *world, enum medium_file file, uint64_t offset, uint64_t length)
{
	static const unsigned char zeros[MEDIUM_BLOCK];
	struct medium *medium = &world->files[file];
	uint64_t end = offset + length < MEDIUM_BYTES ? offset + length : MEDIUM_BYTES;
	while (offset < end) {
		uint64_t block = offset / MEDIUM_BLOCK, part = (block + 1) * MEDIUM_BLOCK - offset;
		if (part > end - offset)
			part = end - offset;
		if (medium->used[block]) {
			world_write(world, file, offset, zeros, part);
			set_used(world, file, block, part < MEDIUM_BLOCK);
		}
		offset += part;
	}
}

void world_resize(struct world *world, enum medium_file file, uint64_t size)
{
	struct medium *medium = &world->files[file];
	if (size == medium->size)
		return;
	if (size > MEDIUM_BYTES)
		give_up("file %d grows beyond what this test can hold", file);
	if (size < medium->size)
		world_zero(world, file, size, medium->size - size);
	note(world, (struct entry){.kind = ENTRY_SIZE, .file = file, .offset = medium->size}, NULL);
	medium->size = size;
}

void world_name(struct world *world, enum medium_file file, enum medium_name name)
{
	note(world, (struct entry){.kind = ENTRY_NAME, .file = file, .offset = world->files[file].name}, NULL);
	world->files[file].name = name;
}

void world_copy(struct world *to, const struct world *from)
{
	for (int i = 0; i < MEDIUM_FILES; i++) {
		struct medium *target = &to->files[i];
		const struct medium *source = &from->files[i];
		for (uint64_t block = 0; block < BLOCKS; block++) {
			uint64_t offset = block * MEDIUM_BLOCK;
			if (source->used[block])
				memcpy(target->bytes + offset, source->bytes + offset, MEDIUM_BLOCK);
			else if (target->used[block])
				memset(target->bytes + offset, 0, MEDIUM_BLOCK);
			target->used[block] = source->used[block];
		}
		target->size = source->size;
		target->name = source->name;
	}
}

uint64_t world_used_blocks(const struct world *world, enum medium_file file)
{
	uint64_t count = 0, end = (world->files[file].size + MEDIUM_BLOCK - 1) / MEDIUM_BLOCK;
	for (uint64_t block = 0; block < end; block++)
		count += world->files[file].used[block];
	return count;
}
