/*
 * Opening and closing a store, and the state it records.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "internal.h"

#define READ_ATTEMPTS 5

#define NO_PROBLEM "no problem"

char rt_store_problem_text[256] = NO_PROBLEM;

const char *rt_store_problem(void)
{
	return rt_store_problem_text;
}

struct store *rt_store_new(bool writable)
{
	struct store *store = rt_memory_map(sizeof(*store));
	if (store == NULL)
		return NULL;
	store->writable = writable;
	store->lock_fd = store->super.fd = store->log.fd = store->home.fd = store->index.fd = -1;
	return store;
}

void rt_store_close(struct store *store)
{
	if (store == NULL)
		return;
	rt_persist_close(&store->super);
	rt_persist_close(&store->log);
	rt_persist_close(&store->home);
	rt_persist_close(&store->index);
	rt_store_free_index(store);
	if (store->manifest != NULL)
		rt_memory_unmap(store->manifest, store->manifest_capacity);
	if (store->lock_fd >= 0) /* last: whoever gets the lock finds nothing half written */
		rt_sys_close(store->lock_fd);
	rt_memory_unmap(store, sizeof(*store));
}

/* ---- open ---- */

/* How bytes become durable in each file, now that the durability is known. */
static void choose_persistence(struct store *store)
{
	bool power = store->durability == STORE_DURABILITY_POWER;
	store->is_pmem = rt_persist_probe_pmem(store->log.fd);
	enum persist_kind kind = power ? PERSIST_SYNC : PERSIST_PROCESS;
	store->home.kind = store->index.kind = kind;
	if (power && store->is_pmem && store->writable && rt_persist_has_libpmem()) {
		kind = PERSIST_PMEM;
		store->log.map_sync = store->super.map_sync = true;
	}
	store->log.kind = store->super.kind = kind;
}

static int open_in(struct store *store, int directory, int lowest_fd, int *holder)
{
	/* `super` first: without it there is no store, and nothing to lock. */
	int error = rt_store_open_files(store, directory, lowest_fd);
	if (error == 0 && store->writable)
		error = rt_store_take_lock(store, directory, lowest_fd, false, holder);
	if (error == 0)
		error = rt_store_refresh_sizes(store);
	if (error == 0)
		error = rt_store_read_super(store);
	if (error < 0)
		return error;
	choose_persistence(store);
	if (store->writable)
		error = rt_persist_map(&store->super, 0, SUPER_FILE_BYTES);
	if (error == 0)
		error = rt_store_recover(store);
	if (error < 0 || !store->writable)
		return error;
	error = rt_store_settle(store, true);
	/* On a full device the log stays: the checkpoint is whole all the same. */
	return error == -ENOSPC || error == -EDQUOT ? 0 : error;
}

static bool has_moved_on(struct store *store)
{
	uint64_t sequence = store->record.sequence;
	return rt_store_read_super(store) == 0 && store->record.sequence != sequence;
}

/* One attempt; *again when the store was written by its owner while it was being read. */
static int try_open(int directory, bool writable, int lowest_fd, struct store **result, int *holder, bool *again)
{
	*again = false;
	struct store *store = rt_store_new(writable);
	if (store == NULL)
		return -ENOMEM;
	int error = open_in(store, directory, lowest_fd, holder);
	if (error == 0) {
		*result = store;
		return 0;
	}
	*again = error == -EBADMSG && !writable && has_moved_on(store);
	rt_store_close(store);
	return error;
}

int rt_store_open(const char *path, bool writable, int lowest_fd, struct store **result, int *holder)
{
	rt_store_explain("%s", NO_PROBLEM);
	int directory = rt_store_open_directory(path, false, writable);
	if (directory < 0)
		return directory;
	bool again = true;
	int error = 0;
	for (int i = 0; again && i < READ_ATTEMPTS; i++)
		error = try_open(directory, writable, lowest_fd, result, holder, &again);
	rt_sys_close(directory);
	if (error < 0 && memcmp(rt_store_problem_text, NO_PROBLEM, sizeof(NO_PROBLEM)) == 0)
		rt_store_explain("%s", rt_error_text(error));
	return error;
}

/* ---- state ---- */

static uint32_t owner_of(int fd)
{
	struct stat status;
	return fd >= 0 && rt_sys_fstat(fd, &status) == 0 ? status.st_uid : 0;
}

static uint64_t allocated_bytes(int fd)
{
	struct stat status;
	return fd >= 0 && rt_sys_fstat(fd, &status) == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

bool rt_store_survives_power(const struct store *store)
{
	return store->durability == STORE_DURABILITY_POWER;
}

enum persist_kind rt_store_persist_kind(const struct store *store)
{
	return store->log.kind;
}

void rt_store_status(struct store *store, struct store_status *status)
{
	const struct commit_record *record = &store->record;
	*status = (struct store_status){
		.state = (enum store_state)record->state,
		.exit_status = record->exit_status,
		.owner_pid = record->owner_pid,
		.owner_start = record->owner_start,
		.epoch = record->epoch,
		.commit_time_ns = record->commit_time_ns,
		.page_count = record->page_count,
		.bytes_on_media = allocated_bytes(store->super.fd) + allocated_bytes(store->log.fd) +
				  allocated_bytes(store->home.fd) + allocated_bytes(store->index.fd),
		.durability = store->durability,
		.is_pmem = store->is_pmem,
		.user = owner_of(store->super.fd),
	};
}

void rt_store_note_fault(struct store *store)
{
	__atomic_store_n(&store->faulted, 1, __ATOMIC_RELEASE);
}

#define FILES(store)                                                            \
	{                                                                       \
		&(store)->super, &(store)->log, &(store)->home, &(store)->index \
	}
#define FILE_COUNT 4

int rt_store_look(struct store *store)
{
	const struct persist_file *files[FILE_COUNT] = FILES(store);
	struct stat status;
	int error = 0;
	for (int i = 0; i < FILE_COUNT && error == 0; i++)
		error = rt_persist_look(files[i]);
	if (error == 0 && store->lock_fd >= 0 && rt_sys_fstat(store->lock_fd, &status) == 0 && status.st_nlink == 0)
		error = -ESTALE;
	return error == 0 && __atomic_load_n(&store->faulted, __ATOMIC_ACQUIRE) ? -EBADMSG : error;
}

void rt_store_give_up(struct store *store)
{
	struct persist_file *files[FILE_COUNT] = FILES(store);
	for (int i = 0; i < FILE_COUNT; i++)
		if (rt_persist_look(files[i]) == -ESTALE)
			rt_persist_cut(files[i], 0);
}

int rt_store_set_owner(struct store *store, int32_t pid, uint64_t start_time)
{
	if (!store->writable)
		return -EROFS;
	struct commit_record record = store->record;
	record.owner_pid = pid;
	record.owner_start = start_time;
	return rt_store_write_record(store, &record);
}

/* Nothing stored any more. Once the record with a new run id is durable, all other bytes are void. */
static int empty(struct store *store, enum store_state state, int32_t exit_status)
{
	if (!store->writable)
		return -EROFS;
	rt_store_abort(store);
	struct commit_record record = {
		.state = state,
		.exit_status = exit_status,
		.owner_pid = store->record.owner_pid,
		.owner_start = store->record.owner_start,
		.commit_time_ns = store->record.commit_time_ns,
	};
	int error = rt_store_random(&record.run_id);
	if (error == 0)
		error = rt_store_write_record(store, &record);
	if (error < 0)
		return error;
	rt_store_clear_index(store);
	store->phase = PHASE_IDLE;
	store->log_end = store->log_cursor = store->largest_epoch = 0;
	store->manifest_length = 0;
	if (state == STORE_ENDED)
		rt_fail(RT_FAIL_END_CUT);
	rt_persist_cut(&store->log, 0);
	rt_persist_cut(&store->home, 0);
	rt_persist_cut(&store->index, 0);
	return 0;
}

/* The superblock, as it was made. */
static int write_superblock(struct store *store)
{
	int error = rt_persist_grow(&store->super, SUPER_FILE_BYTES);
	if (error == 0)
		error = rt_persist_map(&store->super, 0, SUPER_FILE_BYTES);
	if (error < 0)
		return error;
	rt_store_compose_super(store->piece, store->durability, store->store_id, 0);
	rt_persist_copy(&store->super, 0, store->piece, STORE_PAGE_SIZE);
	rt_persist_flush(&store->super, 0, STORE_PAGE_SIZE);
	return rt_persist_drain(&store->super);
}

int rt_store_start_over(struct store *store)
{
	struct persist_file *files[FILE_COUNT] = FILES(store);
	int error = 0;
	rt_store_abort(store);
	for (int i = 0; i < FILE_COUNT && error == 0; i++)
		error = rt_persist_forget(files[i]);
	__atomic_store_n(&store->faulted, 0, __ATOMIC_RELEASE);
	if (error == 0)
		error = write_superblock(store);
	if (error == 0)
		error = empty(store, STORE_EMPTY, 0);
	if (error == 0)
		error = rt_store_mirror_record(store);
	if (error < 0)
		rt_store_note_fault(store); /* it is still to be done */
	return error;
}

int rt_store_clear(struct store *store)
{
	return empty(store, STORE_EMPTY, 0);
}

int rt_store_set_ended(struct store *store, int32_t exit_status)
{
	return empty(store, STORE_ENDED, exit_status);
}

size_t rt_store_descriptors(const struct store *store, int *fds, size_t capacity)
{
	const int open[] = {store->super.fd, store->log.fd, store->home.fd, store->index.fd, store->lock_fd};
	size_t count = 0;
	for (size_t i = 0; i < sizeof(open) / sizeof(open[0]) && count < capacity; i++) {
		if (open[i] >= 0)
			fds[count++] = open[i];
	}
	return count;
}
