/*
 * Recovery: builds the in-memory index from the files, given the newest commit record.
 *
 * Everything read here may be damaged or made up: each number is checked against the size of
 * the file it points into before it is used, sums are formed only from numbers already bounded,
 * and memory grows only with what the files really hold.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "internal.h"

#define ROWS_PER_READ (TAIL_PIECE_BYTES / sizeof(struct page_row))
#define DROPS_PER_READ (TAIL_PIECE_BYTES / sizeof(struct drop_row))

/* Memory for chunks: what ordinary programs need, and some multiple of what lies in the files. */
#define CHUNK_MEMORY_MIN (256UL << 20)
#define CHUNK_MEMORY_PER_BYTE 16

static int check_record(const struct store *store)
{
	const struct commit_record *record = &store->record;
	if (record->state > STORE_ENDED || record->home_epoch > record->epoch)
		return rt_store_damaged("super: the commit record makes no sense");
	if ((record->tail.length == 0) != (record->epoch == 0))
		return rt_store_damaged("super: checkpoint %lu without a tail", record->epoch);
	if (record->index_entries > (store->index.size + INDEX_ENTRY_BYTES - 1) / INDEX_ENTRY_BYTES ||
	    record->index_entries >= ENTRY_NONE)
		return rt_store_damaged("index: shorter than its %lu entries", record->index_entries);
	if (record->epoch - record->home_epoch > store->log.size / STORE_PAGE_SIZE)
		return rt_store_damaged("log: too short for %lu epochs", record->epoch - record->home_epoch);
	return 0;
}

static void limit_chunks(struct store *store)
{
	struct store_status status;
	rt_store_status(store, &status);
	uint64_t bytes = status.bytes_on_media;
	if (bytes > 1UL << 48)
		bytes = 1UL << 48;
	store->chunk_limit = (CHUNK_MEMORY_MIN + CHUNK_MEMORY_PER_BYTE * bytes) / sizeof(struct chunk);
}

/* ---- home and index ---- */

static bool index_slot_is_valid(const struct store *store, const struct index_slot *slot)
{
	return slot->magic == INDEX_SLOT_MAGIC && slot->run_id == store->record.run_id &&
	       slot->checksum == rt_store_hash(slot, offsetof(struct index_slot, checksum));
}

/* Reads both slots; which one counts, or -1. */
static int read_entry(struct store *store, uint64_t number, bool *stale)
{
	int side = -1;
	*stale = false;
	for (int i = 0; i < 2; i++) {
		struct index_slot *slot = &store->index_slots[i];
		uint64_t offset = number * INDEX_ENTRY_BYTES + (uint64_t)i * INDEX_SLOT_BYTES;
		int error = rt_persist_read(&store->index, slot, sizeof(*slot), offset);
		if (error < 0 || !index_slot_is_valid(store, slot))
			continue;
		if (slot->epoch > store->record.home_epoch)
			*stale = true;
		else if (side < 0 || slot->epoch > store->index_slots[side].epoch)
			side = i;
	}
	return side;
}

static int load_chunk(struct store *store, uint64_t number, const struct index_slot *slot, bool stale)
{
	if (slot->address % HOME_CHUNK_BYTES != 0 || slot->address >= STORE_ADDRESS_END)
		return rt_store_damaged("index: entry %lu: impossible address %lx", number, slot->address);
	int error;
	struct chunk *chunk = rt_store_get_chunk(store, slot->address, &error);
	if (chunk == NULL)
		return error;
	if (chunk->entry != ENTRY_NONE)
		return rt_store_damaged("index: address %lx twice", slot->address);
	unsigned last = 0;
	for (unsigned page = rt_page_map_next(slot->present, 0); page != NO_PAGE;
	     page = rt_page_map_next(slot->present, page + 1))
		last = page + 1;
	if ((number << HOME_CHUNK_SHIFT) + ((uint64_t)last << RT_PAGE_SHIFT) > store->home.size)
		return rt_store_damaged("home: too short for the pages at %lx", slot->address);
	chunk->entry = (uint32_t)number;
	memcpy(chunk->present, slot->present, sizeof(chunk->present));
	memcpy(chunk->home_present, slot->present, sizeof(chunk->present));
	for (unsigned page = 0; page < HOME_CHUNK_PAGES; page++) {
		chunk->pages[page].hash = slot->hash[page];
		chunk->pages[page].slot = SLOT_HOME;
	}
	store->page_count += rt_page_map_count(chunk->present);
	if (stale)
		rt_store_mark_unsettled(store, chunk);
	return 0;
}

static int load_entry(struct store *store, uint64_t number)
{
	bool stale;
	int side = read_entry(store, number, &stale);
	if (side < 0)
		return rt_store_damaged("index: entry %lu: no valid slot", number);
	const struct index_slot *slot = &store->index_slots[side];
	bool used = rt_page_map_next(slot->present, 0) != NO_PAGE;
	store->entries[number] = (struct entry){.used = used, .stale = stale, .side = (unsigned char)side};
	store->entry_count = number + 1;
	if (used)
		return load_chunk(store, number, slot, stale);
	store->free_entries++;
	store->stale_entries += stale;
	return 0;
}

static int load_index(struct store *store)
{
	for (uint64_t number = 0; number < store->record.index_entries; number++) {
		int error = rt_store_entries_reserve(store, number + 1);
		if (error == 0)
			error = load_entry(store, number);
		if (error < 0)
			return error;
	}
	return 0;
}

/* ---- the epochs in the log ---- */

static int hash_tail(struct store *store, const struct tail_link *link, uint64_t *hash)
{
	*hash = 0;
	for (uint64_t done = 0; done < link->length;) {
		uint64_t part = link->length - done;
		if (part > TAIL_PIECE_BYTES)
			part = TAIL_PIECE_BYTES;
		int error = rt_persist_read(&store->log, store->piece, part, link->offset + done);
		if (error < 0)
			return error;
		*hash = rt_store_hash_piece(store->piece, part, *hash);
		done += part;
	}
	return 0;
}

static bool tail_adds_up(const struct epoch_tail *tail, uint64_t length)
{
	uint64_t left = length - sizeof(*tail);
	if (tail->page_rows > left / sizeof(struct page_row) || tail->drop_rows > left / sizeof(struct drop_row) ||
	    tail->manifest_length > left || tail->manifest_length > STORE_MANIFEST_LIMIT)
		return false;
	return tail->page_rows * sizeof(struct page_row) + tail->drop_rows * sizeof(struct drop_row) +
		       tail->manifest_length ==
	       left;
}

int rt_store_verify_tail(struct store *store, const struct tail_link *link, struct epoch_tail *tail)
{
	if (link->offset % STORE_PAGE_SIZE != 0 || link->length < sizeof(*tail) || link->offset > store->log.size ||
	    link->length > store->log.size - link->offset)
		return rt_store_damaged("log: a tail lies outside");
	/* A file may be a hole as large as a tail says it is. */
	if (store->chunk_limit != 0 && link->length / sizeof(struct chunk) > store->chunk_limit)
		return rt_store_damaged("log: a tail of %lu bytes, most of them missing", link->length);
	uint64_t hash;
	int error = hash_tail(store, link, &hash);
	if (error < 0)
		return error;
	if (hash != link->hash)
		return rt_store_damaged("log: the tail at %lx: checksum differs", link->offset);
	error = rt_persist_read(&store->log, tail, sizeof(*tail), link->offset);
	if (error < 0)
		return error;
	if (tail->magic != EPOCH_TAIL_MAGIC || tail->run_id != store->record.run_id ||
	    !tail_adds_up(tail, link->length))
		return rt_store_damaged("log: the tail at %lx makes no sense", link->offset);
	return 0;
}

/* Fills links[0 .. count): the tails of home_epoch + 1 .. epoch. */
static int collect_tails(struct store *store, struct tail_link *links, uint64_t count)
{
	struct tail_link link = store->record.tail;
	for (uint64_t i = count; i-- > 0;) {
		struct epoch_tail tail;
		int error = rt_store_verify_tail(store, &link, &tail);
		if (error < 0)
			return error;
		if (tail.epoch != store->record.home_epoch + 1 + i)
			return rt_store_damaged("log: the tail at %lx is of epoch %lu", link.offset, tail.epoch);
		links[i] = link;
		/* Strictly downwards; the last one's predecessor is not looked at. */
		if (i > 0 &&
		    (tail.previous.offset >= link.offset || tail.previous.length > link.offset - tail.previous.offset))
			return rt_store_damaged("log: the tail at %lx has no predecessor", link.offset);
		link = tail.previous;
	}
	return 0;
}

static int apply_page_row(struct store *store, const struct page_row *row, uint64_t log_pages)
{
	if (row->address % RT_PAGE_SIZE != 0 || row->address >= STORE_ADDRESS_END || row->slot >= log_pages ||
	    row->slot >= SLOT_HOME)
		return rt_store_damaged("log: impossible page %lx in slot %lx", row->address, row->slot);
	int error;
	struct chunk *chunk = rt_store_get_chunk(store, row->address, &error);
	if (chunk == NULL)
		return error;
	unsigned page = page_of(row->address);
	store->page_count += !page_map_has(chunk->present, page);
	page_map_add(chunk->present, page);
	chunk->pages[page].slot = (uint32_t)row->slot;
	chunk->pages[page].hash = row->hash;
	rt_store_mark_unsettled(store, chunk);
	return 0;
}

static void recovered_drop(struct store *store, struct chunk *chunk, unsigned page)
{
	page_map_remove(chunk->present, page);
	store->page_count--;
	rt_store_mark_unsettled(store, chunk);
}

static int apply_page_rows(struct store *store, uint64_t offset, uint64_t count, uint64_t log_pages)
{
	struct page_row *rows = (struct page_row *)(void *)store->piece;
	while (count > 0) {
		uint64_t part = count < ROWS_PER_READ ? count : ROWS_PER_READ;
		int error = rt_persist_read(&store->log, rows, part * sizeof(*rows), offset);
		for (uint64_t i = 0; error == 0 && i < part; i++)
			error = apply_page_row(store, &rows[i], log_pages);
		if (error < 0)
			return error;
		offset += part * sizeof(*rows);
		count -= part;
	}
	return 0;
}

static int apply_drop_rows(struct store *store, uint64_t offset, uint64_t count)
{
	struct drop_row *rows = (struct drop_row *)(void *)store->piece;
	while (count > 0) {
		uint64_t part = count < DROPS_PER_READ ? count : DROPS_PER_READ;
		int error = rt_persist_read(&store->log, rows, part * sizeof(*rows), offset);
		if (error < 0)
			return error;
		for (uint64_t i = 0; i < part; i++) {
			if (rows[i].start % RT_PAGE_SIZE != 0 || rows[i].end % RT_PAGE_SIZE != 0 ||
			    rows[i].start >= rows[i].end || rows[i].end > STORE_ADDRESS_END ||
			    rows[i].start >> HOME_CHUNK_SHIFT != (rows[i].end - 1) >> HOME_CHUNK_SHIFT)
				return rt_store_damaged("log: impossible drop of %lx", rows[i].start);
			rt_store_drop_range(store, rows[i].start, rows[i].end, recovered_drop);
		}
		offset += part * sizeof(*rows);
		count -= part;
	}
	return 0;
}

static int apply_tail(struct store *store, const struct tail_link *link)
{
	struct epoch_tail tail;
	int error = rt_persist_read(&store->log, &tail, sizeof(tail), link->offset);
	if (error < 0)
		return error;
	if (!tail_adds_up(&tail, link->length)) /* verified before, but a live store may have changed since */
		return rt_store_damaged("log: the tail at %lx changed", link->offset);
	uint64_t offset = link->offset + sizeof(tail);
	error = apply_page_rows(store, offset, tail.page_rows, link->offset / STORE_PAGE_SIZE);
	if (error < 0)
		return error;
	return apply_drop_rows(store, offset + tail.page_rows * sizeof(struct page_row), tail.drop_rows);
}

static int overlay_log(struct store *store)
{
	uint64_t count = store->record.epoch - store->record.home_epoch;
	if (count == 0)
		return 0;
	struct tail_link *links = rt_memory_map(count * sizeof(*links));
	if (links == NULL)
		return -ENOMEM;
	int error = collect_tails(store, links, count);
	for (uint64_t i = 0; error == 0 && i < count; i++)
		error = apply_tail(store, &links[i]);
	rt_memory_unmap(links, count * sizeof(*links));
	return error;
}

static int load_manifest(struct store *store)
{
	struct epoch_tail tail;
	int error = rt_store_verify_tail(store, &store->record.tail, &tail);
	if (error < 0)
		return error;
	if (tail.epoch != store->record.epoch)
		return rt_store_damaged("log: the newest tail is of epoch %lu", tail.epoch);
	error = rt_store_keep_manifest_room(store, tail.manifest_length);
	if (error < 0)
		return error;
	store->manifest_length = tail.manifest_length;
	uint64_t end = store->record.tail.offset + store->record.tail.length;
	return rt_persist_read(&store->log, store->manifest, tail.manifest_length, end - tail.manifest_length);
}

/* What lies beyond the structures in use is left over from a crash. */
static void cut_leftovers(struct store *store)
{
	rt_persist_cut(&store->home, store->record.index_entries * HOME_CHUNK_BYTES);
	rt_persist_cut(&store->index, store->record.index_entries * INDEX_ENTRY_BYTES);
	if (store->record.flags & RECORD_HOLES_PENDING)
		rt_store_punch_gaps(store);
}

int rt_store_recover(struct store *store)
{
	int error = check_record(store);
	if (error == 0 && store->record.epoch == 0 && store->writable) {
		/* A crash after the record that emptied it. */
		rt_persist_cut(&store->log, 0);
		cut_leftovers(store);
	}
	if (error < 0 || store->record.epoch == 0)
		return error;
	limit_chunks(store);
	error = load_index(store);
	if (error == 0)
		error = overlay_log(store);
	if (error == 0)
		error = load_manifest(store);
	if (error < 0)
		return error;
	if (store->page_count != store->record.page_count)
		return rt_store_damaged("holds %lu pages instead of %lu", store->page_count, store->record.page_count);
	store->chunk_limit = 0;
	store->log_end = store->log_cursor = RT_PAGE_ALIGN_UP(store->record.tail.offset + store->record.tail.length);
	error = rt_persist_map(&store->log, 0, store->log_end);
	if (error == 0 && store->writable) {
		cut_leftovers(store);
		/* A settle that was cut short may have put pages there that are gone before the next one. */
		store->gaps_unknown = true;
	}
	return error;
}
