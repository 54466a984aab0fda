/*
 * The file `super`: the superblock and the two commit records.
 *
 * A record is written over the page that does not hold the newest one; a record torn by a crash
 * has a wrong checksum, and the other one counts.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

int rt_store_random(uint64_t *value)
{
	long got = rt_syscall(SYS_getrandom, value, sizeof(*value), 0);
	if (got < 0)
		return (int)got;
	return got == sizeof(*value) ? 0 : -EIO;
}

static void seal_record(struct commit_record *record, uint64_t store_id)
{
	record->magic = COMMIT_RECORD_MAGIC;
	record->store_id = store_id;
	record->checksum = rt_store_hash(record, offsetof(struct commit_record, checksum));
}

void rt_store_compose_super(unsigned char *bytes, enum store_durability durability, uint64_t store_id, uint64_t run_id)
{
	struct superblock block = {
		.magic = SUPERBLOCK_MAGIC,
		.version = STORE_FORMAT_VERSION,
		.byte_order = STORE_BYTE_ORDER,
		.page_size = STORE_PAGE_SIZE,
		.durability = durability,
		.store_id = store_id,
	};
	block.checksum = rt_store_hash(&block, offsetof(struct superblock, checksum));
	struct commit_record record = {.run_id = run_id, .sequence = 1};
	seal_record(&record, store_id);
	memset(bytes, 0, SUPER_FILE_BYTES);
	memcpy(bytes, &block, sizeof(block));
	memcpy(bytes + STORE_PAGE_SIZE, &record, sizeof(record));
	memcpy(bytes + 2 * STORE_PAGE_SIZE, &record, sizeof(record));
}

static int read_superblock(struct store *store)
{
	struct superblock block;
	int error = rt_persist_read(&store->super, &block, sizeof(block), 0);
	if (error < 0)
		return rt_store_damaged("super: too short");
	if (block.magic != SUPERBLOCK_MAGIC)
		return rt_store_damaged("super: not a store");
	/* Before the checksum, which another version may compute in another way. */
	if (block.version != STORE_FORMAT_VERSION || block.byte_order != STORE_BYTE_ORDER ||
	    block.page_size != STORE_PAGE_SIZE) {
		rt_store_explain("super: format version %u, byte order %x, page size %u; expected %u, %x, %u",
				 block.version, block.byte_order, block.page_size, STORE_FORMAT_VERSION,
				 STORE_BYTE_ORDER, (unsigned)STORE_PAGE_SIZE);
		return -EPROTO;
	}
	if (block.checksum != rt_store_hash(&block, offsetof(struct superblock, checksum)))
		return rt_store_damaged("super: the superblock's checksum differs");
	if (block.durability > STORE_DURABILITY_POWER)
		return rt_store_damaged("super: unknown durability %u", block.durability);
	store->durability = (enum store_durability)block.durability;
	store->store_id = block.store_id;
	return 0;
}

static bool read_record(struct store *store, int page, struct commit_record *record)
{
	uint64_t offset = STORE_PAGE_SIZE * (1 + (uint64_t)page);
	return rt_persist_read(&store->super, record, sizeof(*record), offset) == 0 &&
	       record->magic == COMMIT_RECORD_MAGIC && record->store_id == store->store_id &&
	       record->checksum == rt_store_hash(record, offsetof(struct commit_record, checksum));
}

int rt_store_read_super(struct store *store)
{
	int error = read_superblock(store);
	if (error < 0)
		return error;
	if (store->super.size < SUPER_FILE_BYTES)
		return rt_store_damaged("super: too short");
	struct commit_record records[2];
	bool valid[2] = {read_record(store, 0, &records[0]), read_record(store, 1, &records[1])};
	if (!valid[0] && !valid[1])
		return rt_store_damaged("super: no valid commit record");
	int newest = !valid[0] || (valid[1] && records[1].sequence > records[0].sequence);
	store->record = records[newest];
	store->record_page = newest;
	store->mirrored = valid[0] && valid[1] && records[0].sequence == records[1].sequence;
	return 0;
}

static int put_record(struct store *store, const struct commit_record *record)
{
	uint64_t offset = STORE_PAGE_SIZE * (1 + (uint64_t)!store->record_page);
	rt_persist_copy(&store->super, offset, record, sizeof(*record));
	rt_persist_flush(&store->super, offset, sizeof(*record));
	int error = rt_fail(RT_FAIL_RECORD_STORED);
	if (error == 0)
		error = rt_persist_drain(&store->super);
	store->failed = error;
	return error;
}

int rt_store_write_record(struct store *store, const struct commit_record *record)
{
	struct commit_record next = *record;
	if (store->last_sequence < store->record.sequence)
		store->last_sequence = store->record.sequence;
	next.sequence = ++store->last_sequence;
	seal_record(&next, store->store_id);
	int error = put_record(store, &next);
	if (error < 0)
		return error;
	store->record = next;
	store->record_page = !store->record_page;
	store->mirrored = false;
	rt_fail(RT_FAIL_RECORD_DRAINED);
	/* Where draining is free, the copy is too. Should it fail, the record is valid all the same. */
	if (store->durability == STORE_DURABILITY_PROCESS)
		rt_store_mirror_record(store);
	return 0;
}

/*
 * The record that failed is on the page that is not in use, or will be, or never: whichever of the two
 * checkpoints recovery finds is whole, as long as nothing else is written. The last one that is known to be
 * durable, under a higher number, takes its place.
 */
int rt_store_mend(struct store *store)
{
	return store->failed == 0 ? 0 : rt_store_write_record(store, &store->record);
}

int rt_store_mirror_record(struct store *store)
{
	if (store->mirrored)
		return 0;
	int error = put_record(store, &store->record);
	store->mirrored = error == 0;
	return error;
}
