/*
 * The in-memory index: which pages the image has, where each lies and what its hash is.
 *
 * A two-level table by chunk number (address / 2 MiB) holds a struct chunk for each stretch that
 * has a page: constant-time lookup and iteration in address order, both without comparing keys.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "internal.h"

#define CHUNKS_PER_SLAB 32

struct chunk_slab {
	struct chunk_slab *next;
	uint64_t reserved[7]; /* chunks start on a cache line */
	struct chunk chunks[CHUNKS_PER_SLAB];
};

static struct index_leaf *leaf_of(struct store *store, uint64_t number)
{
	return store->leaves == NULL ? NULL : store->leaves[number / INDEX_FANOUT];
}

struct chunk *rt_store_find_chunk(struct store *store, uint64_t address)
{
	uint64_t number = address >> HOME_CHUNK_SHIFT;
	if (store->last_chunk != NULL && store->last_chunk->address >> HOME_CHUNK_SHIFT == number)
		return store->last_chunk;
	if (address >= STORE_ADDRESS_END)
		return NULL;
	struct index_leaf *leaf = leaf_of(store, number);
	struct chunk *chunk = leaf == NULL ? NULL : leaf->chunks[number % INDEX_FANOUT];
	if (chunk != NULL)
		store->last_chunk = chunk;
	return chunk;
}

static struct index_leaf *get_leaf(struct store *store, uint64_t number)
{
	if (store->leaves == NULL)
		store->leaves = rt_memory_map(INDEX_FANOUT * sizeof(*store->leaves));
	if (store->leaves == NULL)
		return NULL;
	struct index_leaf **leaf = &store->leaves[number / INDEX_FANOUT];
	if (*leaf == NULL)
		*leaf = rt_memory_map(sizeof(**leaf));
	return *leaf;
}

static bool add_slab(struct store *store)
{
	struct chunk_slab *slab = rt_memory_map(sizeof(*slab));
	if (slab == NULL)
		return false;
	slab->next = store->slabs;
	store->slabs = slab;
	for (int i = CHUNKS_PER_SLAB - 1; i >= 0; i--) {
		slab->chunks[i].next_in_epoch = store->free_chunks;
		store->free_chunks = &slab->chunks[i];
	}
	return true;
}

static struct chunk *take_chunk(struct store *store, uint64_t address)
{
	if (store->free_chunks == NULL && !add_slab(store))
		return NULL;
	struct chunk *chunk = store->free_chunks;
	store->free_chunks = chunk->next_in_epoch;
	memset(chunk, 0, sizeof(*chunk));
	chunk->address = address & ~(HOME_CHUNK_BYTES - 1);
	chunk->entry = ENTRY_NONE;
	store->chunk_count++;
	return chunk;
}

struct chunk *rt_store_get_chunk(struct store *store, uint64_t address, int *error)
{
	*error = -EINVAL;
	if (address >= STORE_ADDRESS_END)
		return NULL;
	struct chunk *chunk = rt_store_find_chunk(store, address);
	if (chunk != NULL)
		return chunk;
	if (store->chunk_limit != 0 && store->chunk_count >= store->chunk_limit) {
		*error = rt_store_damaged("more addresses than its files have room for");
		return NULL;
	}
	*error = -ENOMEM;
	uint64_t number = address >> HOME_CHUNK_SHIFT;
	struct index_leaf *leaf = get_leaf(store, number);
	chunk = leaf == NULL ? NULL : take_chunk(store, address);
	if (chunk == NULL)
		return NULL;
	leaf->chunks[number % INDEX_FANOUT] = chunk;
	leaf->count++;
	store->last_chunk = chunk;
	return chunk;
}

static struct chunk *next_in_leaf(const struct index_leaf *leaf, uint64_t number)
{
	for (uint64_t i = number % INDEX_FANOUT; i < INDEX_FANOUT; i++) {
		if (leaf->chunks[i] != NULL)
			return leaf->chunks[i];
	}
	return NULL;
}

struct chunk *rt_store_next_chunk(struct store *store, uint64_t from, uint64_t to)
{
	if (from >= STORE_ADDRESS_END || from >= to || store->leaves == NULL)
		return NULL;
	uint64_t last = ((to > STORE_ADDRESS_END ? STORE_ADDRESS_END : to) - 1) >> HOME_CHUNK_SHIFT;
	uint64_t number = from >> HOME_CHUNK_SHIFT;
	while (number <= last) {
		struct index_leaf *leaf = leaf_of(store, number);
		struct chunk *chunk = leaf == NULL || leaf->count == 0 ? NULL : next_in_leaf(leaf, number);
		if (chunk != NULL)
			return chunk->address >> HOME_CHUNK_SHIFT <= last ? chunk : NULL;
		number = (number / INDEX_FANOUT + 1) * INDEX_FANOUT;
	}
	return NULL;
}

void rt_store_release_chunk(struct store *store, struct chunk *chunk)
{
	uint64_t number = chunk->address >> HOME_CHUNK_SHIFT;
	struct index_leaf *leaf = leaf_of(store, number);
	leaf->chunks[number % INDEX_FANOUT] = NULL;
	leaf->count--;
	if (store->last_chunk == chunk)
		store->last_chunk = NULL;
	chunk->next_in_epoch = store->free_chunks;
	store->free_chunks = chunk;
	store->chunk_count--;
}

bool rt_store_chunk_is_empty(const struct chunk *chunk)
{
	return rt_page_map_next(chunk->present, 0) == NO_PAGE;
}

void rt_store_mark_unsettled(struct store *store, struct chunk *chunk)
{
	if (chunk->unsettled)
		return;
	chunk->unsettled = true;
	chunk->next_unsettled = store->unsettled_chunks;
	store->unsettled_chunks = chunk;
}

void rt_store_free_index(struct store *store)
{
	while (store->slabs != NULL) {
		struct chunk_slab *slab = store->slabs;
		store->slabs = slab->next;
		rt_memory_unmap(slab, sizeof(*slab));
	}
	for (uint64_t i = 0; store->leaves != NULL && i < INDEX_FANOUT; i++) {
		if (store->leaves[i] != NULL)
			rt_memory_unmap(store->leaves[i], sizeof(**store->leaves));
	}
	if (store->leaves != NULL)
		rt_memory_unmap(store->leaves, INDEX_FANOUT * sizeof(*store->leaves));
	if (store->entries != NULL)
		rt_memory_unmap(store->entries, store->entry_capacity * sizeof(*store->entries));
}

void rt_store_clear_index(struct store *store)
{
	rt_store_free_index(store);
	store->leaves = NULL;
	store->last_chunk = store->free_chunks = store->epoch_chunks = store->unsettled_chunks = NULL;
	store->chunk_count = store->page_count = 0;
	store->entries = NULL;
	store->entry_count = store->entry_capacity = store->free_entries = 0;
	store->free_entry_hint = store->stale_entries = 0;
}

unsigned rt_page_map_next(const uint64_t *map, unsigned from)
{
	for (unsigned word = from / 64; word < PAGE_MAP_WORDS; word++) {
		uint64_t bits = map[word];
		if (word == from / 64)
			bits &= ~0UL << (from % 64);
		if (bits != 0)
			return word * 64 + (unsigned)__builtin_ctzl(bits);
	}
	return NO_PAGE;
}

bool rt_page_map_next_run(const uint64_t *map, unsigned *first, unsigned *count)
{
	unsigned page = rt_page_map_next(map, *first);
	if (page == NO_PAGE)
		return false;
	*first = page;
	while (page < HOME_CHUNK_PAGES && page_map_has(map, page))
		page++;
	*count = page - *first;
	return true;
}

unsigned rt_page_map_count(const uint64_t *map)
{
	unsigned count = 0;
	for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
		count += (unsigned)__builtin_popcountl(map[word]);
	return count;
}

void rt_page_map_range(uint64_t *map, uint64_t address, uint64_t start, uint64_t end)
{
	unsigned first = start <= address ? 0 : (unsigned)((start - address) >> RT_PAGE_SHIFT);
	unsigned last =
		end >= address + HOME_CHUNK_BYTES ? HOME_CHUNK_PAGES : (unsigned)((end - address) >> RT_PAGE_SHIFT);
	for (unsigned word = 0; word < PAGE_MAP_WORDS; word++) {
		unsigned low = word * 64, high = low + 64;
		unsigned from = first > low ? first : low, to = last < high ? last : high;
		map[word] = from >= to ? 0 : (~0UL >> (64 - (to - from))) << (from - low);
	}
}
