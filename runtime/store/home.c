/*
 * Settling: the newest version of each page moves home, so that the log can be used again.
 *
 * The order of writes, and why a crash between any two is harmless, is told in format.h.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "internal.h"

#define ENTRIES_AT_FIRST 4096

/* ---- entries ---- */

int rt_store_entries_reserve(struct store *store, uint64_t count)
{
	if (count <= store->entry_capacity)
		return 0;
	if (count >= ENTRY_NONE)
		return -EFBIG;
	uint64_t capacity = store->entry_capacity ? store->entry_capacity : ENTRIES_AT_FIRST;
	while (capacity < count)
		capacity *= 2;
	size_t size = sizeof(*store->entries);
	void *block = store->entries == NULL
			      ? rt_memory_map(capacity * size)
			      : rt_memory_grow(store->entries, store->entry_capacity * size, capacity * size);
	if (block == NULL)
		return -ENOMEM;
	store->entries = block;
	store->entry_capacity = capacity;
	return 0;
}

static uint32_t take_free_entry(struct store *store)
{
	uint64_t number = store->free_entry_hint;
	while (store->entries[number].used)
		number++;
	store->free_entry_hint = number + 1;
	store->free_entries--;
	store->entries[number].used = true;
	return (uint32_t)number;
}

int rt_store_new_entry(struct store *store, uint32_t *entry)
{
	if (store->free_entries > 0) {
		*entry = take_free_entry(store);
		return 0;
	}
	int error = rt_store_entries_reserve(store, store->entry_count + 1);
	if (error < 0)
		return error;
	*entry = (uint32_t)store->entry_count++;
	store->entries[*entry] = (struct entry){.used = true, .side = 1};
	return 0;
}

static void give_back_entry(struct store *store, uint32_t number)
{
	store->entries[number].used = false;
	store->free_entries++;
	if (store->free_entry_hint > number)
		store->free_entry_hint = number;
}

/* ---- pages ---- */

static uint64_t home_offset(const struct chunk *chunk, unsigned page)
{
	return ((uint64_t)chunk->entry << HOME_CHUNK_SHIFT) + ((uint64_t)page << RT_PAGE_SHIFT);
}

/* The pages of a chunk whose newest version is in the log. */
static void pages_in_log(const struct chunk *chunk, uint64_t *pages)
{
	memcpy(pages, chunk->present, sizeof(chunk->present));
	for (unsigned page = rt_page_map_next(pages, 0); page != NO_PAGE; page = rt_page_map_next(pages, page + 1)) {
		if (chunk->pages[page].slot == SLOT_HOME)
			page_map_remove(pages, page);
	}
}

static int write_run(struct store *store, const struct chunk *chunk, unsigned first, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		store->vectors[i].iov_base = rt_store_log_page(store, chunk->pages[first + i].slot);
		store->vectors[i].iov_len = RT_PAGE_SIZE;
	}
	return rt_persist_write(&store->home, home_offset(chunk, first), store->vectors, count);
}

static int write_pages(struct store *store, struct chunk *chunk)
{
	uint64_t pages[PAGE_MAP_WORDS];
	pages_in_log(chunk, pages);
	for (unsigned first = 0, count; rt_page_map_next_run(pages, &first, &count); first += count) {
		int error = write_run(store, chunk, first, count);
		if (error < 0)
			return error;
	}
	return 0;
}

static int write_all_pages(struct store *store)
{
	for (struct chunk *chunk = store->unsettled_chunks; chunk != NULL; chunk = chunk->next_unsettled) {
		int error = rt_fail(RT_FAIL_SETTLE_CHUNK);
		if (error == 0 && chunk->entry == ENTRY_NONE && !rt_store_chunk_is_empty(chunk))
			error = rt_store_new_entry(store, &chunk->entry);
		if (error == 0)
			error = write_pages(store, chunk);
		if (error < 0)
			return error;
	}
	int error = rt_fail(RT_FAIL_SETTLE_DRAIN);
	return error < 0 ? error : rt_persist_drain(&store->home);
}

/* ---- index slots ---- */

/* Writes the slot that is not in use; `chunk` NULL for a free entry. */
static int write_index_slot(struct store *store, uint32_t number, const struct chunk *chunk)
{
	struct index_slot *slot = &store->index_slots[0];
	memset(slot, 0, sizeof(*slot));
	slot->magic = INDEX_SLOT_MAGIC;
	slot->run_id = store->record.run_id;
	slot->epoch = store->record.epoch;
	if (chunk != NULL) {
		slot->address = chunk->address;
		memcpy(slot->present, chunk->present, sizeof(slot->present));
		for (unsigned page = rt_page_map_next(slot->present, 0); page != NO_PAGE;
		     page = rt_page_map_next(slot->present, page + 1))
			slot->hash[page] = chunk->pages[page].hash;
	}
	slot->checksum = rt_store_hash(slot, offsetof(struct index_slot, checksum));
	struct iovec vector = {.iov_base = slot, .iov_len = sizeof(*slot)};
	uint64_t side = !store->entries[number].side;
	return rt_persist_write(&store->index, number * INDEX_ENTRY_BYTES + side * INDEX_SLOT_BYTES, &vector, 1);
}

/* A free entry in whose other slot a crashed settle left something: it must not become valid. */
static int write_stale_slots(struct store *store)
{
	for (uint64_t i = 0; store->stale_entries > 0 && i < store->entry_count; i++) {
		if (!store->entries[i].stale || store->entries[i].used)
			continue;
		int error = write_index_slot(store, (uint32_t)i, NULL);
		if (error < 0)
			return error;
	}
	return 0;
}

static int write_index_slots(struct store *store)
{
	for (struct chunk *chunk = store->unsettled_chunks; chunk != NULL; chunk = chunk->next_unsettled) {
		int error = rt_fail(RT_FAIL_SETTLE_SLOT);
		if (error == 0 && chunk->entry != ENTRY_NONE)
			error = write_index_slot(store, chunk->entry, chunk);
		if (error < 0)
			return error;
	}
	int error = write_stale_slots(store);
	if (error == 0)
		error = rt_fail(RT_FAIL_SETTLE_INDEX);
	return error < 0 ? error : rt_persist_drain(&store->index);
}

/* ---- after the record ---- */

static void punch_pages(struct store *store, const struct chunk *chunk, const uint64_t *pages)
{
	for (unsigned first = 0, count; rt_page_map_next_run(pages, &first, &count); first += count) {
		uint64_t start = home_offset(chunk, first), length = (uint64_t)count << RT_PAGE_SHIFT;
		/* A hole that cannot be punched costs room, nothing else. */
		if (start < store->home.size)
			rt_persist_punch(&store->home, start, length);
	}
}

static void settle_chunk(struct store *store, struct chunk *chunk)
{
	chunk->unsettled = false;
	uint64_t gone[PAGE_MAP_WORDS];
	for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
		gone[word] = chunk->home_present[word] & ~chunk->present[word];
	if (chunk->entry != ENTRY_NONE) {
		punch_pages(store, chunk, gone);
		store->entries[chunk->entry].side ^= 1;
		store->entries[chunk->entry].stale = false;
	}
	memcpy(chunk->home_present, chunk->present, sizeof(chunk->present));
	for (unsigned page = 0; page < HOME_CHUNK_PAGES; page++)
		chunk->pages[page].slot = SLOT_HOME;
	if (!rt_store_chunk_is_empty(chunk))
		return;
	if (chunk->entry != ENTRY_NONE)
		give_back_entry(store, chunk->entry);
	chunk->entry = ENTRY_NONE;
	if (!chunk->in_epoch) /* else it holds aborted pages; the next begin lets it go */
		rt_store_release_chunk(store, chunk);
}

static void settle_stale_entries(struct store *store)
{
	for (uint64_t i = 0; store->stale_entries > 0 && i < store->entry_count; i++) {
		if (store->entries[i].stale && !store->entries[i].used) {
			store->entries[i].side ^= 1;
			store->entries[i].stale = false;
		}
	}
	store->stale_entries = 0;
}

static void settle_all(struct store *store)
{
	settle_stale_entries(store);
	struct chunk *next;
	for (struct chunk *chunk = store->unsettled_chunks; chunk != NULL; chunk = next) {
		next = chunk->next_unsettled;
		settle_chunk(store, chunk);
	}
	store->unsettled_chunks = NULL;
}

void rt_store_punch_gaps(struct store *store)
{
	struct chunk *chunk;
	for (uint64_t from = 0; (chunk = rt_store_next_chunk(store, from, STORE_ADDRESS_END)) != NULL;
	     from = chunk->address + HOME_CHUNK_BYTES) {
		if (chunk->entry == ENTRY_NONE)
			continue;
		uint64_t gaps[PAGE_MAP_WORDS];
		for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
			gaps[word] = ~(chunk->home_present[word] | chunk->present[word]);
		punch_pages(store, chunk, gaps);
	}
	for (uint64_t i = 0; i < store->entry_count; i++) {
		if (!store->entries[i].used && i << HOME_CHUNK_SHIFT < store->home.size)
			rt_persist_punch(&store->home, i << HOME_CHUNK_SHIFT, HOME_CHUNK_BYTES);
	}
}

/* ---- settle ---- */

/* Puts the manifest at `offset` of the log as the tail of an epoch without rows, and makes
 * `record` point there. */
static int write_manifest_record(struct store *store, uint64_t offset, struct commit_record *record)
{
	struct epoch_tail tail = {
		.magic = EPOCH_TAIL_MAGIC,
		.run_id = record->run_id,
		.epoch = record->epoch,
		.manifest_length = store->manifest_length,
	};
	int error = rt_store_log_reach(store, offset + sizeof(tail) + store->manifest_length);
	if (error < 0)
		return error;
	rt_store_write_tail(store, &tail, offset, store->manifest, &record->tail);
	error = rt_persist_drain(&store->log);
	if (error == 0)
		error = rt_store_write_record(store, record);
	if (error == 0)
		store->log_end = store->log_cursor = RT_PAGE_ALIGN_UP(record->tail.offset + record->tail.length);
	return error;
}

static uint64_t manifest_tail_bytes(const struct store *store)
{
	return RT_PAGE_ALIGN_UP(sizeof(struct epoch_tail) + store->manifest_length);
}

static int move_home(struct store *store)
{
	/* Behind the log in use, and such that its copy at 0 will not overlap it. */
	uint64_t length = manifest_tail_bytes(store);
	uint64_t offset = store->log_end > length ? store->log_end : length;
	int error = rt_store_log_reach(store, offset + length);
	if (error < 0)
		return error;
	bool gaps_unknown = store->gaps_unknown;
	store->gaps_unknown = true;
	error = write_all_pages(store);
	if (error == 0)
		error = write_index_slots(store);
	if (error < 0)
		return error;
	struct commit_record record = store->record;
	record.home_epoch = record.epoch;
	record.index_entries = store->entry_count;
	record.flags |= RECORD_HOLES_PENDING;
	error = rt_fail(RT_FAIL_SETTLE_RECORD);
	if (error == 0)
		error = write_manifest_record(store, offset, &record);
	if (error < 0)
		return error;
	rt_fail(RT_FAIL_SETTLE_HOLES);
	settle_all(store);
	if (gaps_unknown)
		rt_store_punch_gaps(store);
	store->gaps_unknown = false;
	return 0;
}

/* The log is empty but for the manifest; brings that to its start. */
static int rewind_log(struct store *store)
{
	uint64_t offset = store->record.tail.offset;
	if (offset == 0 || offset < manifest_tail_bytes(store))
		return 0;
	int error = rt_fail(RT_FAIL_SETTLE_REWIND);
	/* The holes are to be durable, too, before nothing says any more that they have to be made. */
	if (error == 0)
		error = rt_persist_drain(&store->home);
	if (error < 0)
		return error;
	struct commit_record record = store->record;
	record.flags &= ~(uint32_t)RECORD_HOLES_PENDING;
	return write_manifest_record(store, 0, &record);
}

static bool settle_is_due(const struct store *store)
{
	uint64_t live = store->page_count << RT_PAGE_SHIFT;
	return store->log_end > (live > SETTLE_BYTES_MIN ? live : SETTLE_BYTES_MIN);
}

int rt_store_settle(struct store *store, bool force)
{
	if (!store->writable)
		return -EROFS;
	if (store->phase == PHASE_OPEN)
		return -EBUSY;
	int error = rt_store_mend(store);
	if (error == 0)
		error = rt_store_mirror_record(store);
	if (error < 0 || (!force && !settle_is_due(store)) || store->record.tail.length == 0)
		return error;
	if ((error = rt_store_look(store)) < 0 || (error = rt_fail(RT_FAIL_SETTLE_BEGIN)) < 0)
		return error;
	if (store->record.epoch > store->record.home_epoch) {
		error = move_home(store);
		if (error == -ENOSPC || error == -EDQUOT) {
			/* The log's spare room may be what home needs. */
			rt_store_log_trim(store, true);
			error = move_home(store);
		}
	}
	if (error == 0)
		error = rewind_log(store);
	if (error < 0)
		return error;
	rt_fail(RT_FAIL_SETTLE_TRIM);
	rt_store_log_trim(store, false);
	store->largest_epoch = 0;
	error = rt_store_mirror_record(store);
	rt_fail(RT_FAIL_SETTLE_DONE);
	return error;
}
