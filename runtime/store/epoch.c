/*
 * An epoch: pages are appended and dropped, then all of it is committed or forgotten.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

int rt_store_begin(struct store *store)
{
	if (!store->writable)
		return -EROFS;
	if (store->phase == PHASE_OPEN)
		return -EINVAL;
	int error = rt_store_look(store);
	if (error == 0)
		error = rt_store_mend(store);
	if (error < 0)
		return error;
	rt_store_forget_epoch(store);
	store->log_cursor = store->log_end;
	store->phase = PHASE_OPEN;
	return 0;
}

/* Remembers what the page was when the epoch began, once. */
static void touch(struct store *store, struct chunk *chunk, unsigned page)
{
	if (page_map_has(chunk->touched, page))
		return;
	page_map_add(chunk->touched, page);
	if (page_map_has(chunk->present, page))
		page_map_add(chunk->committed_present, page);
	else
		page_map_remove(chunk->committed_present, page);
	chunk->pages[page].committed_slot = chunk->pages[page].slot;
	chunk->pages[page].committed_hash = chunk->pages[page].hash;
	if (!chunk->in_epoch) {
		chunk->in_epoch = true;
		chunk->next_in_epoch = store->epoch_chunks;
		store->epoch_chunks = chunk;
	}
}

static void set_page(struct store *store, struct chunk *chunk, unsigned page, uint64_t offset, uint64_t hash)
{
	touch(store, chunk, page);
	store->page_count += !page_map_has(chunk->present, page);
	page_map_add(chunk->present, page);
	chunk->pages[page].slot = (uint32_t)(offset >> RT_PAGE_SHIFT);
	chunk->pages[page].hash = hash;
}

static struct chunk *chunk_to_change(struct store *store, uint64_t page, int *error)
{
	*error = -EINVAL;
	if (store->phase != PHASE_OPEN || page % RT_PAGE_SIZE != 0)
		return NULL;
	return rt_store_get_chunk(store, page, error);
}

int rt_store_append(struct store *store, uint64_t page, const void *contents)
{
	int error;
	struct chunk *chunk = chunk_to_change(store, page, &error);
	if (chunk == NULL)
		return error;
	unsigned number = page_of(page);
	uint64_t offset;
	if (page_map_has(chunk->touched, number) && page_map_has(chunk->present, number)) {
		/* Appended in this epoch already: nothing refers to that slot yet, so use it again. */
		offset = (uint64_t)chunk->pages[number].slot << RT_PAGE_SHIFT;
	} else {
		error = rt_store_log_take(store, 1, &offset);
		if (error < 0)
			return error;
	}
	/* Read once: the page may be changing under our hands (pre-copy), and the hash must be that
	 * of what is stored. The copy stays in the first-level cache. */
	memcpy(store->piece, contents, RT_PAGE_SIZE);
	uint64_t hash = rt_store_hash_page(store->piece);
	rt_persist_copy(&store->log, offset, store->piece, RT_PAGE_SIZE);
	set_page(store, chunk, number, offset, hash);
	return 0;
}

int rt_store_append_slot(struct store *store, size_t index, uint64_t page)
{
	if (index >= store->slots_count)
		return -EINVAL;
	int error;
	struct chunk *chunk = chunk_to_change(store, page, &error);
	if (chunk == NULL)
		return error;
	uint64_t offset = store->slots_start + (index << RT_PAGE_SHIFT);
	uint64_t hash = rt_store_hash_page(rt_persist_address(&store->log, offset));
	rt_persist_flush(&store->log, offset, RT_PAGE_SIZE);
	set_page(store, chunk, page_of(page), offset, hash);
	if (store->slots_used <= index)
		store->slots_used = index + 1;
	return 0;
}

static void drop_page(struct store *store, struct chunk *chunk, unsigned page)
{
	touch(store, chunk, page);
	page_map_remove(chunk->present, page);
	store->page_count--;
}

void rt_store_drop_range(struct store *store, uint64_t start, uint64_t end,
			 void (*drop)(struct store *, struct chunk *, unsigned page))
{
	struct chunk *chunk;
	for (uint64_t from = start; (chunk = rt_store_next_chunk(store, from, end)) != NULL;
	     from = chunk->address + HOME_CHUNK_BYTES) {
		uint64_t pages[PAGE_MAP_WORDS];
		rt_page_map_range(pages, chunk->address, start, end);
		for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
			pages[word] &= chunk->present[word];
		for (unsigned page = rt_page_map_next(pages, 0); page != NO_PAGE;
		     page = rt_page_map_next(pages, page + 1))
			drop(store, chunk, page);
	}
}

int rt_store_drop(struct store *store, uint64_t start, uint64_t end)
{
	if (store->phase != PHASE_OPEN || start % RT_PAGE_SIZE != 0 || end % RT_PAGE_SIZE != 0 || start > end)
		return -EINVAL;
	rt_store_drop_range(store, start, end, drop_page);
	return 0;
}

/* Takes the chunks off the epoch's list and forgets what was touched. */
void rt_store_forget_epoch(struct store *store)
{
	struct chunk *next;
	for (struct chunk *chunk = store->epoch_chunks; chunk != NULL; chunk = next) {
		next = chunk->next_in_epoch;
		chunk->in_epoch = false;
		memset(chunk->touched, 0, sizeof(chunk->touched));
		/* Made for pages that came and went, or whose epoch was aborted. */
		if (!chunk->unsettled && chunk->entry == ENTRY_NONE && rt_store_chunk_is_empty(chunk))
			rt_store_release_chunk(store, chunk);
	}
	store->epoch_chunks = NULL;
	store->phase = PHASE_IDLE;
}

static void note_commit(struct store *store, const void *manifest, size_t length)
{
	uint64_t end = RT_PAGE_ALIGN_UP(store->record.tail.offset + store->record.tail.length);
	if (store->largest_epoch < end - store->log_end)
		store->largest_epoch = end - store->log_end;
	store->log_end = store->log_cursor = end;
	store->slots_count = 0;
	memcpy(store->manifest, manifest, length);
	store->manifest_length = length;
	for (struct chunk *chunk = store->epoch_chunks; chunk != NULL; chunk = chunk->next_in_epoch)
		rt_store_mark_unsettled(store, chunk);
	rt_store_forget_epoch(store);
}

int rt_store_commit(struct store *store, const void *manifest, size_t length, int64_t time_ns)
{
	if (store->phase != PHASE_OPEN)
		return -EINVAL;
	if (length > STORE_MANIFEST_LIMIT)
		return -EFBIG;
	rt_store_slots_done(store);
	struct epoch_tail tail;
	uint64_t bytes = rt_store_tail_length(store, &tail, length);
	int error = rt_fail(RT_FAIL_COMMIT_BEGIN);
	if (error == 0)
		error = rt_store_log_reach(store, store->log_cursor + bytes);
	if (error == 0)
		error = rt_store_keep_manifest_room(store, length);
	if (error == 0)
		error = rt_fail(RT_FAIL_COMMIT_TAIL);
	if (error < 0)
		return error;

	struct commit_record record = store->record;
	record.epoch++;
	record.state = STORE_RUNNING;
	record.page_count = store->page_count;
	record.commit_time_ns = time_ns;
	tail.magic = EPOCH_TAIL_MAGIC;
	tail.run_id = record.run_id;
	tail.epoch = record.epoch;
	tail.previous = store->record.tail;
	rt_store_write_tail(store, &tail, store->log_cursor, manifest, &record.tail);

	/* All that the record refers to is durable before the record is. */
	error = rt_fail(RT_FAIL_COMMIT_DRAIN);
	if (error == 0)
		error = rt_persist_drain(&store->log);
	if (error == 0)
		error = rt_store_look(store);
	if (error == 0)
		error = rt_fail(RT_FAIL_COMMIT_RECORD);
	if (error == 0)
		error = rt_store_write_record(store, &record);
	if (error < 0)
		return error;
	rt_fail(RT_FAIL_COMMIT_DONE);
	note_commit(store, manifest, length);
	return 0;
}

static void undo_page(struct store *store, struct chunk *chunk, unsigned page)
{
	store->page_count -= page_map_has(chunk->present, page);
	store->page_count += page_map_has(chunk->committed_present, page);
	page_map_remove(chunk->present, page);
	if (page_map_has(chunk->committed_present, page))
		page_map_add(chunk->present, page);
	chunk->pages[page].slot = chunk->pages[page].committed_slot;
	chunk->pages[page].hash = chunk->pages[page].committed_hash;
}

void rt_store_abort(struct store *store)
{
	if (store->phase != PHASE_OPEN)
		return;
	for (struct chunk *chunk = store->epoch_chunks; chunk != NULL; chunk = chunk->next_in_epoch) {
		for (unsigned page = rt_page_map_next(chunk->touched, 0); page != NO_PAGE;
		     page = rt_page_map_next(chunk->touched, page + 1))
			undo_page(store, chunk, page);
	}
	store->log_cursor = store->log_end;
	store->slots_count = 0;
	store->phase = PHASE_ABORTED;
}

bool rt_store_next_aborted(struct store *store, uint64_t from, uint64_t *page)
{
	if (store->phase != PHASE_ABORTED)
		return false;
	struct chunk *chunk;
	for (uint64_t at = from; (chunk = rt_store_next_chunk(store, at, STORE_ADDRESS_END)) != NULL;
	     at = chunk->address + HOME_CHUNK_BYTES) {
		uint64_t pages[PAGE_MAP_WORDS];
		rt_page_map_range(pages, chunk->address, RT_PAGE_ALIGN_UP(from), STORE_ADDRESS_END);
		for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
			pages[word] &= chunk->touched[word];
		unsigned first = rt_page_map_next(pages, 0);
		if (first == NO_PAGE)
			continue;
		*page = chunk->address + ((uint64_t)first << RT_PAGE_SHIFT);
		return true;
	}
	return false;
}
