/* See seal.h. It follows the structures as recovery does, but believes nothing and stops where they end. */
#include "seal.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/store/internal.h"

#define TAIL_LIMIT (4UL << 20) /* bytes of a tail that are hashed */
#define MAX_TAILS 64
#define MAX_ENTRIES 256

const char *const fuzz_file_names[FUZZ_FILES] = {"super", "log",        "home",  "index", "undo0",
						 "undo1", "statistics", "crash", "pid",   "lock"};

void seal_undo_records(uint8_t *bytes, size_t length, uint64_t id, uint64_t generation,
		       void (*change)(struct undo_record *record))
{
	struct undo_record *record;
	size_t skipped = offsetof(struct undo_record, id);
	for (size_t at = 0; length - at >= sizeof(*record); at += record->length) {
		record = (struct undo_record *)(void *)(bytes + at);
		if (record->length < sizeof(*record) || record->length > length - at || record->length % 8 != 0)
			return;
		record->id = id;
		record->generation = generation;
		if (change != NULL)
			change(record);
		record->checksum = rt_store_hash((uint8_t *)record + skipped, record->length - skipped);
	}
}

/* ---- the store ---- */

struct sealing {
	int super, log, home, index;
	struct superblock block;
	struct commit_record records[2];
};

static bool get(int fd, void *bytes, size_t length, uint64_t offset)
{
	return offset <= INT64_MAX && pread(fd, bytes, length, (off_t)offset) == (ssize_t)length;
}

static void put(int fd, const void *bytes, size_t length, uint64_t offset)
{
	if (offset <= INT64_MAX && pwrite(fd, bytes, length, (off_t)offset) != (ssize_t)length)
		_exit(0);
}

static uint64_t hash_page_at(int fd, uint64_t offset, uint64_t hash)
{
	uint8_t page[RT_PAGE_SIZE] __attribute__((aligned(64)));
	return get(fd, page, sizeof(page), offset) ? rt_store_hash_page(page) : hash;
}

/* The hashes of the pages, then that of the tail itself. */
static void seal_tail(const struct sealing *sealing, const struct commit_record *record, struct tail_link *link)
{
	static uint8_t bytes[TAIL_LIMIT] __attribute__((aligned(64)));
	struct epoch_tail *tail = (struct epoch_tail *)(void *)bytes;
	if (link->length < sizeof(*tail) || link->length > sizeof(bytes) ||
	    !get(sealing->log, bytes, link->length, link->offset))
		return;
	tail->magic = EPOCH_TAIL_MAGIC;
	tail->run_id = record->run_id;
	struct page_row *rows = (struct page_row *)(void *)(tail + 1);
	for (uint64_t i = 0; i < tail->page_rows && (i + 1) * sizeof(*rows) <= link->length - sizeof(*tail); i++)
		if (rows[i].slot < UINT32_MAX)
			rows[i].hash = hash_page_at(sealing->log, rows[i].slot * RT_PAGE_SIZE, rows[i].hash);
	link->hash = 0;
	for (uint64_t done = 0; done < link->length; done += TAIL_PIECE_BYTES) {
		uint64_t part = link->length - done < TAIL_PIECE_BYTES ? link->length - done : TAIL_PIECE_BYTES;
		link->hash = rt_store_hash_piece(bytes + done, part, link->hash);
	}
	put(sealing->log, bytes, link->length, link->offset);
}

/* The oldest first: each holds the hash of the one before. */
static void seal_tails(const struct sealing *sealing, struct commit_record *record)
{
	uint64_t offsets[MAX_TAILS];
	struct tail_link link = record->tail;
	struct epoch_tail tail;
	int count = 0;
	while (count < MAX_TAILS && link.length != 0 && get(sealing->log, &tail, sizeof(tail), link.offset)) {
		offsets[count++] = link.offset;
		if (tail.previous.offset >= link.offset)
			break;
		link = tail.previous;
	}
	for (int i = count - 1; i > 0; i--) {
		if (!get(sealing->log, &tail, sizeof(tail), offsets[i - 1]))
			continue;
		seal_tail(sealing, record, &tail.previous);
		put(sealing->log, &tail, sizeof(tail), offsets[i - 1]);
	}
	seal_tail(sealing, record, &record->tail);
}

static void seal_index(const struct sealing *sealing, const struct commit_record *record)
{
	static struct index_slot slot;
	for (uint64_t i = 0; i < 2 * MAX_ENTRIES && i < 2 * record->index_entries; i++) {
		if (!get(sealing->index, &slot, sizeof(slot), i * INDEX_SLOT_BYTES) || slot.magic == 0)
			continue;
		slot.magic = INDEX_SLOT_MAGIC;
		slot.run_id = record->run_id;
		for (unsigned page = rt_page_map_next(slot.present, 0); page != NO_PAGE;
		     page = rt_page_map_next(slot.present, page + 1))
			slot.hash[page] = hash_page_at(sealing->home, i / 2 * HOME_CHUNK_BYTES + page * RT_PAGE_SIZE,
						       slot.hash[page]);
		slot.checksum = rt_store_hash(&slot, offsetof(struct index_slot, checksum));
		put(sealing->index, &slot, sizeof(slot), i * INDEX_SLOT_BYTES);
	}
}

static void seal_super(struct sealing *sealing)
{
	struct superblock *block = &sealing->block;
	if (!get(sealing->super, block, sizeof(*block), 0) || block->magic != SUPERBLOCK_MAGIC)
		return;
	block->version = STORE_FORMAT_VERSION; /* an input outlives versions that change nothing for it */
	block->checksum = rt_store_hash(block, offsetof(struct superblock, checksum));
	put(sealing->super, block, sizeof(*block), 0);
	for (uint64_t i = 0; i < 2; i++) {
		struct commit_record *record = &sealing->records[i];
		if (!get(sealing->super, record, sizeof(*record), (1 + i) * STORE_PAGE_SIZE))
			continue;
		/* The second of two alike shares all with the first. */
		seal_tails(sealing, record);
		seal_index(sealing, record);
		record->magic = COMMIT_RECORD_MAGIC;
		record->store_id = block->store_id;
		record->checksum = rt_store_hash(record, offsetof(struct commit_record, checksum));
		put(sealing->super, record, sizeof(*record), (1 + i) * STORE_PAGE_SIZE);
	}
}

void seal_store(const char *path)
{
	char name[64];
	struct sealing sealing = {-1, -1, -1, -1, {0}, {{0}, {0}}};
	int *const fds[] = {&sealing.super, &sealing.log, &sealing.home, &sealing.index};
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, fuzz_file_names[i]);
		*fds[i] = open(name, O_RDWR | O_CLOEXEC);
	}
	seal_super(&sealing);
	for (int i = 0; i < 4; i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
}
