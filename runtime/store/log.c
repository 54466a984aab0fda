/*
 * The page log: room for pages, and the tail that ends each epoch.
 *
 * Linear: [0, log_end) belongs to the committed epochs since the last settle, [log_end,
 * log_cursor) to the open one. The file grows in steps before its mapping is written to.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "internal.h"

#define LOG_BYTES_MAX ((uint64_t)SLOT_HOME << RT_PAGE_SHIFT)

static int grow_log(struct store *store, uint64_t end)
{
	uint64_t step = LOG_STEP_BYTES;
	int error = rt_persist_grow(&store->log, (end + step - 1) / step * step);
	/* On a nearly full device, what is really needed may still fit. */
	return error == -ENOSPC || error == -EDQUOT ? rt_persist_grow(&store->log, RT_PAGE_ALIGN_UP(end)) : error;
}

int rt_store_log_reach(struct store *store, uint64_t end)
{
	if (end > LOG_BYTES_MAX)
		return -EFBIG;
	if (end > store->log.size) {
		int error = grow_log(store, end);
		if (error < 0)
			return error;
	}
	uint64_t start = store->log_end < end ? store->log_end : 0;
	return rt_persist_map(&store->log, start, end - start);
}

int rt_store_log_take(struct store *store, uint64_t count, uint64_t *offset)
{
	uint64_t start = store->log_cursor, length = count << RT_PAGE_SHIFT;
	if (count == 0 || length > PERSIST_SEGMENT_BYTES)
		return -EINVAL;
	/* Adjacent slots are in one segment. */
	uint64_t left = PERSIST_SEGMENT_BYTES - (start & (PERSIST_SEGMENT_BYTES - 1));
	if (left < length)
		start += left;
	uint64_t end = start + length, segment = start >> PERSIST_SEGMENT_SHIFT;
	if (end > store->log.size || segment >= store->log.segment_capacity || store->log.segments[segment] == NULL) {
		int error = rt_store_log_reach(store, end);
		if (error < 0)
			return error;
	}
	store->log_cursor = end;
	*offset = start;
	return 0;
}

int rt_store_reserve(struct store *store, size_t pages)
{
	if (!store->writable)
		return -EROFS;
	uint64_t bytes = (uint64_t)pages * (RT_PAGE_SIZE + sizeof(struct page_row));
	if (pages > LOG_BYTES_MAX >> RT_PAGE_SHIFT)
		return -EFBIG;
	uint64_t end =
		RT_PAGE_ALIGN_UP(store->log_cursor + bytes + sizeof(struct epoch_tail) + 2 * store->manifest_length);
	int error = rt_store_log_reach(store, end);
	if (error == 0)
		rt_persist_populate(&store->log, end);
	return error;
}

/* ---- slots the caller fills ---- */

void *rt_store_slots(struct store *store, size_t count, int *error)
{
	*error = -EINVAL;
	if (store->phase != PHASE_OPEN || store->slots_count != 0 || count > PERSIST_SEGMENT_BYTES)
		return NULL;
	*error = rt_store_log_take(store, count, &store->slots_start);
	if (*error < 0)
		return NULL;
	store->slots_count = count;
	store->slots_used = 0;
	return rt_persist_address(&store->log, store->slots_start);
}

void rt_store_slots_done(struct store *store)
{
	/* Only what lies behind the last one used, and when nothing came after. */
	if (store->slots_count != 0 && store->log_cursor == store->slots_start + (store->slots_count << RT_PAGE_SHIFT))
		store->log_cursor = store->slots_start + (store->slots_used << RT_PAGE_SHIFT);
	store->slots_count = 0;
}

/* ---- the tail ---- */

static void dropped_pages(const struct chunk *chunk, uint64_t *dropped)
{
	for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
		dropped[word] = chunk->touched[word] & chunk->committed_present[word] & ~chunk->present[word];
}

static void appended_pages(const struct chunk *chunk, uint64_t *appended)
{
	for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
		appended[word] = chunk->touched[word] & chunk->present[word];
}

uint64_t rt_store_tail_length(struct store *store, struct epoch_tail *tail, uint64_t manifest_length)
{
	memset(tail, 0, sizeof(*tail));
	for (const struct chunk *chunk = store->epoch_chunks; chunk != NULL; chunk = chunk->next_in_epoch) {
		uint64_t pages[PAGE_MAP_WORDS];
		appended_pages(chunk, pages);
		tail->page_rows += rt_page_map_count(pages);
		dropped_pages(chunk, pages);
		for (unsigned first = 0, count; rt_page_map_next_run(pages, &first, &count); first += count)
			tail->drop_rows++;
	}
	tail->manifest_length = manifest_length;
	return sizeof(*tail) + tail->page_rows * sizeof(struct page_row) + tail->drop_rows * sizeof(struct drop_row) +
	       manifest_length;
}

/* Gathers bytes into pieces, hashes each and copies it to the log. */
struct tail_writer {
	struct store *store;
	uint64_t offset; /* in log, of the next piece */
	size_t filled;   /* bytes in store->piece */
	uint64_t hash;
};

static void copy_to_log(struct store *store, uint64_t offset, const unsigned char *bytes, size_t length)
{
	while (length > 0) {
		size_t part = PERSIST_SEGMENT_BYTES - (offset & (PERSIST_SEGMENT_BYTES - 1));
		if (part > length)
			part = length;
		rt_persist_copy(&store->log, offset, bytes, part);
		bytes += part;
		offset += part;
		length -= part;
	}
}

static void put_piece(struct tail_writer *writer)
{
	struct store *store = writer->store;
	writer->hash = rt_store_hash_piece(store->piece, writer->filled, writer->hash);
	copy_to_log(store, writer->offset, store->piece, writer->filled);
	writer->offset += writer->filled;
	writer->filled = 0;
}

static void put(struct tail_writer *writer, const void *bytes, size_t length)
{
	const unsigned char *from = bytes;
	while (length > 0) {
		size_t part = TAIL_PIECE_BYTES - writer->filled;
		if (part > length)
			part = length;
		memcpy(writer->store->piece + writer->filled, from, part);
		writer->filled += part;
		from += part;
		length -= part;
		if (writer->filled == TAIL_PIECE_BYTES)
			put_piece(writer);
	}
}

static void put_page_rows(struct tail_writer *writer, const struct chunk *chunk)
{
	uint64_t pages[PAGE_MAP_WORDS];
	appended_pages(chunk, pages);
	for (unsigned page = rt_page_map_next(pages, 0); page != NO_PAGE; page = rt_page_map_next(pages, page + 1)) {
		struct page_row row = {
			.address = chunk->address + ((uint64_t)page << RT_PAGE_SHIFT),
			.slot = chunk->pages[page].slot,
			.hash = chunk->pages[page].hash,
		};
		put(writer, &row, sizeof(row));
	}
}

static void put_drop_rows(struct tail_writer *writer, const struct chunk *chunk)
{
	uint64_t pages[PAGE_MAP_WORDS];
	dropped_pages(chunk, pages);
	for (unsigned first = 0, count; rt_page_map_next_run(pages, &first, &count); first += count) {
		uint64_t start = chunk->address + ((uint64_t)first << RT_PAGE_SHIFT);
		struct drop_row row = {.start = start, .end = start + ((uint64_t)count << RT_PAGE_SHIFT)};
		put(writer, &row, sizeof(row));
	}
}

void rt_store_write_tail(struct store *store, const struct epoch_tail *tail, uint64_t offset, const void *manifest,
			 struct tail_link *link)
{
	struct tail_writer writer = {.store = store, .offset = offset};
	put(&writer, tail, sizeof(*tail));
	if (tail->page_rows > 0) {
		for (const struct chunk *chunk = store->epoch_chunks; chunk != NULL; chunk = chunk->next_in_epoch)
			put_page_rows(&writer, chunk);
	}
	if (tail->drop_rows > 0) {
		for (const struct chunk *chunk = store->epoch_chunks; chunk != NULL; chunk = chunk->next_in_epoch)
			put_drop_rows(&writer, chunk);
	}
	put(&writer, manifest, tail->manifest_length);
	if (writer.filled > 0)
		put_piece(&writer);
	link->offset = offset;
	link->length = writer.offset - offset;
	link->hash = writer.hash;
}

int rt_store_keep_manifest_room(struct store *store, uint64_t length)
{
	if (length <= store->manifest_capacity)
		return 0;
	uint64_t capacity = RT_PAGE_ALIGN_UP(length + length / 2);
	void *block = store->manifest == NULL ? rt_memory_map(capacity)
					      : rt_memory_grow(store->manifest, store->manifest_capacity, capacity);
	if (block == NULL)
		return -ENOMEM;
	store->manifest = block;
	store->manifest_capacity = capacity;
	return 0;
}

void rt_store_log_trim(struct store *store, bool to_minimum)
{
	uint64_t keep = store->log_cursor;
	if (!to_minimum) {
		uint64_t live = store->page_count << RT_PAGE_SHIFT;
		keep += (live > SETTLE_BYTES_MIN ? live : SETTLE_BYTES_MIN) + store->largest_epoch;
		keep = (keep / LOG_STEP_BYTES + 1) * LOG_STEP_BYTES;
	}
	rt_persist_cut(&store->log, keep); /* should it fail, the log merely stays longer */
}
