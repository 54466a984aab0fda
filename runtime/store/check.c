/*
 * Verifying the contents of every page, and of the manifest.
 */
#include <errno.h>

#include "internal.h"

/* Read, not mapped: a device error is then an error, not a SIGBUS. */
static int check_page(struct store *store, const struct chunk *chunk, unsigned page)
{
	uint64_t address = chunk->address + ((uint64_t)page << RT_PAGE_SHIFT), offset;
	int fd;
	int error = rt_store_locate(store, address, &fd, &offset);
	if (error < 0)
		return error;
	const struct persist_file *file = fd == store->home.fd ? &store->home : &store->log;
	error = rt_persist_read(file, store->piece, RT_PAGE_SIZE, offset);
	if (error < 0) {
		rt_store_explain("page at %lx: cannot be read: %s", address, rt_error_text(error));
		return error;
	}
	if (rt_store_hash_page(store->piece) != chunk->pages[page].hash)
		return rt_store_damaged("page at 0x%lx: checksum differs", address);
	return 0;
}

static int check_chunk(struct store *store, const struct chunk *chunk)
{
	for (unsigned page = rt_page_map_next(chunk->present, 0); page != NO_PAGE;
	     page = rt_page_map_next(chunk->present, page + 1)) {
		int error = check_page(store, chunk, page);
		if (error < 0)
			return error;
	}
	return 0;
}

int rt_store_check(struct store *store)
{
	if (store->record.tail.length != 0) {
		struct epoch_tail tail;
		int error = rt_store_verify_tail(store, &store->record.tail, &tail);
		if (error < 0)
			return error;
	}
	struct chunk *chunk;
	for (uint64_t from = 0; (chunk = rt_store_next_chunk(store, from, STORE_ADDRESS_END)) != NULL;
	     from = chunk->address + HOME_CHUNK_BYTES) {
		int error = check_chunk(store, chunk);
		if (error < 0)
			return error;
	}
	return 0;
}
