#include "recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/memory.h"
#include "runtime/store/internal.h"

#define FIRST_FD 100000 /* no descriptor of the test's */
#define SEGMENTS (MEDIUM_BYTES / PERSIST_SEGMENT_BYTES)

struct world *recorder_world;
struct recording *recorder_recording;
bool recorder_is_pmem;

static enum medium_file number_of(const struct persist_file *file)
{
	return (enum medium_file)(file->fd - FIRST_FD);
}

/* ---- recording ---- */

static void record(enum op_kind kind, enum medium_file file, uint64_t offset, uint64_t length, const void *bytes)
{
	struct recording *recording = recorder_recording;
	if (recording == NULL)
		return;
	if (recording->count == recording->capacity) {
		recording->capacity = recording->capacity ? 2 * recording->capacity : 1024;
		recording->ops = must_have(recording->ops, recording->capacity * sizeof(struct op));
	}
	struct op op = {.kind = kind, .file = file, .offset = offset, .length = length, .data = recording->used};
	if (bytes != NULL) {
		while (recording->used + length > recording->room) {
			recording->room = recording->room ? 2 * recording->room : 1 << 20;
			recording->data = must_have(recording->data, recording->room);
		}
		memcpy(recording->data + recording->used, bytes, length);
		recording->used += length;
	}
	recording->ops[recording->count++] = op;
}

void recording_clear(struct recording *recording)
{
	recording->count = recording->used = 0;
}

void recorder_say(enum op_kind kind, uint64_t image)
{
	record(kind, FILE_SUPER, image, 0, NULL);
}

void recorder_stored(enum medium_file file, const void *address, uint64_t length)
{
	struct medium *medium = &recorder_world->files[file];
	uint64_t offset = (uint64_t)((const unsigned char *)address - medium->bytes);
	for (uint64_t block = offset / MEDIUM_BLOCK; block <= (offset + length - 1) / MEDIUM_BLOCK; block++)
		medium->used[block] = 1;
	record(OP_DIRECT, file, offset, length, address);
}

void recorder_open(struct persist_file *file, enum medium_file number, enum persist_kind kind)
{
	file->fd = FIRST_FD + (int)number;
	file->writable = true;
	file->kind = kind;
	file->size = recorder_world->files[number].size;
}

/* ---- the contract ---- */

int rt_persist_load_libpmem(void)
{
	return 0;
}

bool rt_persist_has_libpmem(void)
{
	return true;
}

bool rt_persist_probe_pmem(int fd)
{
	(void)fd;
	return recorder_is_pmem;
}

int rt_persist_map(struct persist_file *file, uint64_t offset, uint64_t length)
{
	if (offset + length > MEDIUM_BYTES)
		give_up("file %d is mapped beyond what this test can hold", number_of(file));
	if (file->segments == NULL) {
		file->segments = malloc(SEGMENTS * sizeof(*file->segments));
		file->segment_capacity = SEGMENTS;
		for (size_t i = 0; i < SEGMENTS; i++)
			file->segments[i] = recorder_world->files[number_of(file)].bytes + i * PERSIST_SEGMENT_BYTES;
	}
	return 0;
}

static void must_be_inside(const struct persist_file *file, uint64_t offset, size_t length)
{
	if (offset + length > file->size)
		give_up("SIGBUS: a store to %lx behind the end of file %d", offset, number_of(file));
	if (!file->writable)
		give_up("SIGSEGV: a store to file %d, which was opened for reading", number_of(file));
}

void rt_persist_copy(struct persist_file *file, uint64_t offset, const void *source, size_t length)
{
	must_be_inside(file, offset, length);
	world_write(recorder_world, number_of(file), offset, source, length);
	record(OP_STORE, number_of(file), offset, length, source);
}

void rt_persist_flush(struct persist_file *file, uint64_t offset, size_t length)
{
	must_be_inside(file, offset, length);
	record(OP_STORE, number_of(file), offset, length, rt_persist_address(file, offset));
}

int rt_persist_write(struct persist_file *file, uint64_t offset, struct iovec *buffers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		enum medium_file number = number_of(file);
		uint64_t length = buffers[i].iov_len;
		if (offset + length > file->size)
			world_resize(recorder_world, number, file->size = offset + length);
		world_write(recorder_world, number, offset, buffers[i].iov_base, length);
		record(OP_STORE, number, offset, length, buffers[i].iov_base);
		offset += length;
	}
	return 0;
}

static int resize(struct persist_file *file, uint64_t size)
{
	world_resize(recorder_world, number_of(file), size);
	record(OP_RESIZE, number_of(file), size, 0, NULL);
	file->size = size;
	return 0;
}

int rt_persist_grow(struct persist_file *file, uint64_t size)
{
	return size <= file->size ? 0 : resize(file, size);
}

int rt_persist_cut(struct persist_file *file, uint64_t size)
{
	return size >= file->size ? 0 : resize(file, size);
}

void rt_persist_populate(struct persist_file *file, uint64_t end)
{
	(void)file;
	(void)end;
}

int rt_persist_punch(struct persist_file *file, uint64_t offset, uint64_t length)
{
	if (offset >= file->size)
		return 0;
	if (length > file->size - offset)
		length = file->size - offset;
	world_zero(recorder_world, number_of(file), offset, length);
	record(OP_PUNCH, number_of(file), offset, length, NULL);
	return 0;
}

int rt_persist_drain(struct persist_file *file)
{
	record(OP_DRAIN, number_of(file), 0, 0, NULL);
	return 0;
}

int rt_persist_read(const struct persist_file *file, void *buffer, size_t length, uint64_t offset)
{
	const struct medium *medium = &recorder_world->files[number_of(file)];
	if (offset > medium->size || length > medium->size - offset)
		return -EBADMSG;
	memcpy(buffer, medium->bytes + offset, length);
	return 0;
}

/* Nobody else has these files. */
int rt_persist_look(const struct persist_file *file)
{
	(void)file;
	return 0;
}

int rt_persist_forget(struct persist_file *file)
{
	(void)file;
	return 0;
}

void rt_persist_close(struct persist_file *file)
{
	free(file->segments);
	memset(file, 0, sizeof(*file));
	file->fd = -1;
}

/* ---- the directory ---- */

static const char *const names[] = {"super", "log", "home", "index"};

static enum medium_file find_name(const char *name, enum medium_name *as)
{
	*as = strcmp(name, "super.new") == 0 ? NAME_NEW : NAME_MADE;
	for (int i = 0; i < 4; i++)
		if (strcmp(names[i], name) == 0)
			return (enum medium_file)i;
	return FILE_SUPER;
}

int rt_persist_make_file(int directory, const char *name, const void *contents, size_t length)
{
	(void)directory;
	enum medium_name as;
	enum medium_file number = find_name(name, &as);
	world_name(recorder_world, number, as);
	record(OP_NAME, number, as, 0, NULL);
	world_resize(recorder_world, number, 0);
	record(OP_RESIZE, number, 0, 0, NULL);
	if (length > 0) {
		world_resize(recorder_world, number, length);
		world_write(recorder_world, number, 0, contents, length);
		record(OP_STORE, number, 0, length, contents);
	}
	record(OP_DRAIN, number, 0, 0, NULL);
	return 0;
}

int rt_persist_rename(int directory, const char *from, const char *to)
{
	(void)directory;
	(void)from;
	enum medium_name as;
	enum medium_file number = find_name(to, &as);
	world_name(recorder_world, number, as);
	record(OP_NAME, number, as, 0, NULL);
	return 0;
}

int rt_persist_drain_directory(int directory)
{
	(void)directory;
	record(OP_DRAIN_NAMES, FILE_SUPER, 0, 0, NULL);
	return 0;
}

/* ---- instead of directory.c ---- */

int rt_store_open_directory(const char *path, bool create, bool writable)
{
	(void)path;
	(void)create;
	(void)writable;
	return FIRST_FD - 1;
}

int rt_store_has_others(int directory)
{
	(void)directory;
	return 0;
}

/* The undo log is not among what is recorded. */
int rt_store_open_file(const char *directory, const char *name, int flags, int lowest_fd)
{
	(void)directory;
	(void)name;
	(void)flags;
	(void)lowest_fd;
	return -ENOENT;
}

int rt_store_open_files(struct store *store, int directory, int lowest_fd)
{
	(void)directory;
	(void)lowest_fd;
	struct persist_file *files[] = {&store->super, &store->log, &store->home, &store->index};
	for (int i = 0; i < 4; i++) {
		if (recorder_world->files[i].name != NAME_MADE)
			return i == 0 ? -ENOENT : rt_store_damaged("%s: missing", names[i]);
		recorder_open(files[i], (enum medium_file)i, PERSIST_PROCESS);
		files[i]->writable = store->writable;
	}
	return 0;
}

int rt_store_refresh_sizes(struct store *store)
{
	struct persist_file *files[] = {&store->super, &store->log, &store->home, &store->index};
	for (int i = 0; i < 4; i++)
		files[i]->size = recorder_world->files[i].size;
	return 0;
}

int rt_store_exists(int directory)
{
	(void)directory;
	return recorder_world->files[FILE_SUPER].name == NAME_MADE ? -EEXIST : 0;
}

int rt_store_take_lock(struct store *store, int directory, int lowest_fd, bool create, int *holder)
{
	(void)store;
	(void)directory;
	(void)lowest_fd;
	(void)create;
	(void)holder;
	return 0;
}
