/* The files of the undo log; see undo_log.h. */
#include "undo_log.h"

#include <errno.h>
#include <string.h>

#include "internal.h"

#define STEP_BYTES (256UL << 10) /* by which a file grows */
#define KEEP_BYTES (1UL << 20)   /* that a file keeps when it is free */
#define FIRST_RECORD sizeof(struct undo_head)

static struct undo_head *head_of(const struct undo_log *log, unsigned file)
{
	return rt_persist_address(&log->files[file], 0);
}

/* ---- opening ---- */

static int open_file(const char *directory, unsigned number, int lowest_fd)
{
	return rt_store_open_file(directory, number == 0 ? "undo0" : "undo1", O_RDWR | O_CREAT, lowest_fd);
}

static int open_one(const char *directory, unsigned number, int lowest_fd, struct persist_file *file)
{
	struct stat status;
	file->fd = open_file(directory, number, lowest_fd);
	if (file->fd < 0)
		return file->fd;
	int error = rt_sys_fstat(file->fd, &status);
	if (error < 0)
		return error;
	file->size = (uint64_t)status.st_size;
	/* Allocated for good, so that a stop need not do it. */
	error = rt_persist_grow(file, STEP_BYTES);
	return error < 0 ? error : rt_persist_map(file, 0, UNDO_LOG_BYTES);
}

/* The names of files that have just been made. */
static int drain_names(const char *path)
{
	int directory = rt_sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (directory < 0)
		return directory;
	int error = rt_persist_drain_directory(directory);
	rt_sys_close(directory);
	return error;
}

int rt_undo_log_open(const char *directory, enum persist_kind kind, int lowest_fd, struct undo_log *log)
{
	int error = 0;
	memset(log, 0, sizeof(*log));
	log->limit = UNDO_LOG_BYTES - UNDO_LOG_RESERVE;
	for (unsigned i = 0; i < 2; i++) {
		log->files[i].fd = -1;
		log->files[i].kind = kind;
		log->files[i].map_sync = kind == PERSIST_PMEM;
		log->files[i].writable = true;
	}
	for (unsigned i = 0; i < 2 && error == 0; i++)
		error = open_one(directory, i, lowest_fd, &log->files[i]);
	if (error == 0 && kind != PERSIST_PROCESS)
		error = drain_names(directory);
	if (error < 0)
		rt_undo_log_close(log);
	return error;
}

int rt_undo_log_look(const char *directory, struct undo_log *log)
{
	struct stat status;
	int error = 0;
	memset(log, 0, sizeof(*log));
	for (unsigned i = 0; i < 2; i++)
		log->files[i] = (struct persist_file){.fd = -1, .kind = PERSIST_PROCESS};
	for (unsigned i = 0; i < 2 && error == 0; i++) {
		log->files[i].fd = rt_store_open_file(directory, i == 0 ? "undo0" : "undo1", O_RDONLY, 0);
		error = log->files[i].fd < 0 ? log->files[i].fd : rt_sys_fstat(log->files[i].fd, &status);
		if (error == 0 && status.st_size < (off_t)STEP_BYTES)
			error = -EBADMSG;
		log->files[i].size = error == 0 ? (uint64_t)status.st_size : 0;
		if (error == 0)
			error = rt_persist_map(&log->files[i], 0, UNDO_LOG_BYTES);
	}
	if (error < 0)
		rt_undo_log_close(log);
	return error;
}

void rt_undo_log_close(struct undo_log *log)
{
	for (unsigned i = 0; i < 2; i++)
		rt_persist_close(&log->files[i]);
}

static int map_again(struct persist_file *file)
{
	int error = rt_persist_forget(file);
	if (error == 0)
		error = rt_persist_grow(file, STEP_BYTES);
	return error < 0 ? error : rt_persist_map(file, 0, UNDO_LOG_BYTES);
}

static void start_file(struct undo_log *log, unsigned file, uint64_t generation)
{
	struct undo_head head = {.magic = UNDO_LOG_MAGIC, .id = log->id, .generation = generation};
	head.checksum = rt_store_hash(&head, offsetof(struct undo_head, checksum));
	rt_persist_copy(&log->files[file], 0, &head, sizeof(head));
	rt_persist_flush(&log->files[file], 0, sizeof(head));
	log->generation[file] = generation;
	log->end[file] = FIRST_RECORD;
	log->current = file;
}

int rt_undo_log_reset(struct undo_log *log)
{
	int error = rt_store_random(&log->id);
	if (error < 0)
		return error;
	log->generation[1] = 0;
	log->committed = 0;
	start_file(log, 0, 1);
	return rt_persist_drain(&log->files[0]);
}

int rt_undo_log_start_over(struct undo_log *log)
{
	int error = map_again(&log->files[0]);
	if (error == 0)
		error = map_again(&log->files[1]);
	return error < 0 ? error : rt_undo_log_reset(log);
}

/* The generation of a file of this run, 0 when it is not one. */
static uint64_t read_generation(const struct undo_log *log, unsigned file)
{
	struct undo_head head;
	memcpy(&head, head_of(log, file), sizeof(head));
	bool valid = head.magic == UNDO_LOG_MAGIC && head.id == log->id &&
		     head.checksum == rt_store_hash(&head, offsetof(struct undo_head, checksum));
	return valid ? head.generation : 0;
}

static int file_with(const struct undo_log *log, uint64_t generation)
{
	for (unsigned i = 0; i < 2; i++)
		if (generation != 0 && log->generation[i] == generation)
			return (int)i;
	return -1;
}

int rt_undo_log_continue(struct undo_log *log, const struct manifest_undo *position)
{
	log->id = position->id;
	log->committed = position->generation;
	for (unsigned i = 0; i < 2; i++) {
		log->generation[i] = read_generation(log, i);
		log->end[i] = log->files[i].size;
		if (log->generation[i] != position->generation && log->generation[i] != position->generation + 1)
			log->generation[i] = 0;
	}
	int first = file_with(log, position->generation);
	if (first < 0 || position->offset % 8 != 0 || position->offset < FIRST_RECORD ||
	    position->offset > log->files[first].size || position->offset > UNDO_LOG_BYTES)
		return -EBADMSG;
	struct undo_cursor cursor = {position->generation, position->offset};
	while (rt_undo_log_next(log, &cursor) != NULL)
		;
	int last = file_with(log, position->generation + 1);
	if (last < 0)
		last = file_with(log, position->generation);
	/* A file that the cursor has not reached holds no record that counts. */
	log->end[last] = cursor.generation == log->generation[last] ? cursor.offset : FIRST_RECORD;
	log->end[!last] = log->files[!last].size;
	log->current = (unsigned)last;
	return 0;
}

/* ---- writing ---- */

void *rt_undo_log_room(struct undo_log *log, size_t bytes, int *error)
{
	struct persist_file *file = &log->files[log->current];
	uint64_t start = log->end[log->current];
	*error = rt_fail(RT_FAIL_UNDO_ROOM);
	if (*error < 0)
		return NULL;
	if (start > log->limit || bytes > log->limit - start)
		*error = -EFBIG;
	else if (start + bytes > file->size)
		*error = rt_persist_grow(file, (start + bytes + STEP_BYTES - 1) & ~(STEP_BYTES - 1));
	return *error < 0 ? NULL : rt_persist_address(file, start);
}

int rt_undo_log_append(struct undo_log *log, const struct undo_record *record)
{
	struct persist_file *file = &log->files[log->current];
	struct undo_record *place = rt_persist_address(file, log->end[log->current]);
	size_t skipped = offsetof(struct undo_record, id);
	int error = rt_fail(RT_FAIL_UNDO_APPEND);
	if (error < 0)
		return error;
	*place = *record;
	place->id = log->id;
	place->generation = log->generation[log->current];
	place->checksum = rt_store_hash((const char *)place + skipped, record->length - skipped);
	rt_persist_flush(file, log->end[log->current], record->length);
	error = rt_fail(RT_FAIL_UNDO_DRAIN);
	if (error == 0)
		error = rt_persist_drain(file);
	if (error < 0)
		return error;
	log->end[log->current] += record->length;
	rt_fail(RT_FAIL_UNDO_SAVED);
	return 0;
}

void rt_undo_log_note_loss(struct undo_log *log)
{
	head_of(log, log->current)->lost = log->end[log->current];
	rt_persist_flush(&log->files[log->current], 0, sizeof(struct undo_head));
	rt_persist_drain(&log->files[log->current]);
}

struct manifest_undo rt_undo_log_turn(struct undo_log *log)
{
	unsigned other = !log->current;
	if (log->end[log->current] > FIRST_RECORD && log->generation[other] < log->committed)
		start_file(log, other, log->generation[log->current] + 1);
	return (struct manifest_undo){log->id, log->generation[log->current], log->end[log->current]};
}

int rt_undo_log_drain(struct undo_log *log)
{
	return rt_persist_drain(&log->files[log->current]);
}

void rt_undo_log_committed(struct undo_log *log, const struct manifest_undo *position)
{
	log->committed = position->generation;
	if (log->generation[!log->current] < log->committed)
		rt_persist_cut(&log->files[!log->current], KEEP_BYTES);
}

/* ---- reading ---- */

static bool is_absolute_path(const char *text, uint32_t length)
{
	return length == 0 || (text[0] == '/' && memchr(text, '\0', length) == text + length - 1);
}

/* The record at `offset`, NULL when none validates there. */
static const struct undo_record *record_at(const struct undo_log *log, unsigned file, uint64_t offset)
{
	uint64_t size = log->files[file].size < UNDO_LOG_BYTES ? log->files[file].size : UNDO_LOG_BYTES;
	if (offset % 8 != 0 || offset < FIRST_RECORD || offset > size || size - offset < sizeof(struct undo_record))
		return NULL;
	const struct undo_record *record = rt_persist_address(&log->files[file], offset);
	size_t skipped = offsetof(struct undo_record, id), length = record->length;
	if (record->id != log->id || record->generation != log->generation[file] || length % 8 != 0 ||
	    length < sizeof(*record) || length > size - offset)
		return NULL;
	if (record->checksum != rt_store_hash((const char *)record + skipped, length - skipped))
		return NULL;
	if (record->path_length > length || record->target_length > length || undo_data_offset(record) > length ||
	    record->data_length > length - undo_data_offset(record))
		return NULL;
	return is_absolute_path(undo_path(record), record->path_length) &&
			       is_absolute_path(undo_target(record), record->target_length)
		       ? record
		       : NULL;
}

const struct undo_record *rt_undo_log_next(const struct undo_log *log, struct undo_cursor *cursor)
{
	int file = file_with(log, cursor->generation);
	const struct undo_record *record = file < 0 ? NULL : record_at(log, (unsigned)file, cursor->offset);
	int next = file_with(log, cursor->generation + 1);
	if (record == NULL && file >= 0 && next >= 0) {
		*cursor = (struct undo_cursor){cursor->generation + 1, FIRST_RECORD};
		record = record_at(log, (unsigned)next, cursor->offset);
	}
	if (record != NULL)
		cursor->offset += record->length;
	return record;
}

bool rt_undo_log_has_loss(const struct undo_log *log, const struct manifest_undo *position)
{
	for (unsigned i = 0; i < 2; i++) {
		uint64_t lost = log->generation[i] == 0 ? 0 : head_of(log, i)->lost;
		if (lost != 0 && (log->generation[i] > position->generation ||
				  (log->generation[i] == position->generation && lost >= position->offset)))
			return true;
	}
	return false;
}
