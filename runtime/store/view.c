/*
 * Looking at the image: the committed pages, and those of the open epoch.
 */
#include <errno.h>

#include "internal.h"

/* The pages of the chunk in [start, end). */
static void present_in(const struct chunk *chunk, uint64_t start, uint64_t end, uint64_t *pages)
{
	rt_page_map_range(pages, chunk->address, start, end);
	for (unsigned word = 0; word < PAGE_MAP_WORDS; word++)
		pages[word] &= chunk->present[word];
}

static void clamp(uint64_t *start, uint64_t *end)
{
	if (*start > STORE_ADDRESS_END)
		*start = STORE_ADDRESS_END;
	if (*end > STORE_ADDRESS_END)
		*end = STORE_ADDRESS_END;
	*start = RT_PAGE_ALIGN_UP(*start);
	*end = RT_PAGE_ALIGN_UP(*end);
}

bool rt_store_next_page(struct store *store, uint64_t from, uint64_t to, uint64_t *page)
{
	clamp(&from, &to);
	struct chunk *chunk;
	for (uint64_t at = from; (chunk = rt_store_next_chunk(store, at, to)) != NULL;
	     at = chunk->address + HOME_CHUNK_BYTES) {
		uint64_t pages[PAGE_MAP_WORDS];
		present_in(chunk, from, to, pages);
		unsigned first = rt_page_map_next(pages, 0);
		if (first == NO_PAGE)
			continue;
		*page = chunk->address + ((uint64_t)first << RT_PAGE_SHIFT);
		return true;
	}
	return false;
}

uint64_t rt_store_count(struct store *store, uint64_t start, uint64_t end)
{
	clamp(&start, &end);
	uint64_t count = 0;
	struct chunk *chunk;
	for (uint64_t at = start; (chunk = rt_store_next_chunk(store, at, end)) != NULL;
	     at = chunk->address + HOME_CHUNK_BYTES) {
		uint64_t pages[PAGE_MAP_WORDS];
		present_in(chunk, start, end, pages);
		count += rt_page_map_count(pages);
	}
	return count;
}

/* Which file holds the page's newest contents, and where; NULL when it is not stored. */
static struct persist_file *find_page(struct store *store, uint64_t page, uint64_t *offset)
{
	struct chunk *chunk = rt_store_find_chunk(store, page);
	unsigned number = page_of(page);
	if (page % RT_PAGE_SIZE != 0 || chunk == NULL || !page_map_has(chunk->present, number))
		return NULL;
	if (chunk->pages[number].slot != SLOT_HOME) {
		*offset = (uint64_t)chunk->pages[number].slot << RT_PAGE_SHIFT;
		return &store->log;
	}
	*offset = ((uint64_t)chunk->entry << HOME_CHUNK_SHIFT) + ((uint64_t)number << RT_PAGE_SHIFT);
	return &store->home;
}

const void *rt_store_page(struct store *store, uint64_t page)
{
	uint64_t offset;
	struct persist_file *file = find_page(store, page, &offset);
	if (file == NULL || rt_persist_map(file, offset, RT_PAGE_SIZE) < 0)
		return NULL;
	return rt_persist_address(file, offset);
}

int rt_store_locate(struct store *store, uint64_t page, int *fd, uint64_t *offset)
{
	struct persist_file *file = find_page(store, page, offset);
	if (file == NULL)
		return -ENOENT;
	*fd = file->fd;
	return 0;
}

const void *rt_store_manifest(struct store *store, size_t *length)
{
	*length = store->manifest_length;
	return store->manifest;
}
