/*
 * Damaged, cut off and made-up stores: an error, or exactly the committed checkpoint; never
 * another one, never a crash.
 */
#include <time.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "runtime/layout.h"
#include "runtime/store/format.h"
#include "test_store_model.h"

#define FILES 4
static const char *const file_names[FILES] = {"super", "log", "home", "index"};

/* A store with something of everything: home, free entries, several epochs in the log. */
static char *make_sample(struct image *image, bool settled)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	memset(image, 0, sizeof(*image));
	uint64_t seed = 1;
	for (int epoch = 0; epoch < 6; epoch++) {
		cr_assert_eq(rt_store_begin(store), 0);
		for (unsigned i = 0; i < 4; i++)
			append(store, image, (unsigned)(epoch * 3) + i * 100, ++seed);
		append(store, image, MODEL_PAGES - 1 - (unsigned)epoch, ++seed);
		if (epoch % 2)
			drop(store, image, 100, 104);
		commit(store, image, 100 + (uint64_t)epoch);
		if (epoch == 1 || epoch == 3)
			cr_assert_eq(rt_store_settle(store, true), 0);
	}
	cr_assert_eq(rt_store_set_owner(store, 1, 2), 0);
	if (settled)
		cr_assert_eq(rt_store_settle(store, true), 0);
	rt_store_close(store);
	return path;
}

static int open_file(const char *path, const char *name)
{
	char file[200];
	snprintf(file, sizeof(file), "%s/%s", path, name);
	int fd = open(file, O_RDWR);
	cr_assert(fd >= 0);
	return fd;
}

/* Opens and checks; with `image`, a success must be that image. Returns whether there was an error. */
static bool open_and_check(const char *path, bool writable, const struct image *image, const char *what)
{
	struct store *store;
	int error = rt_store_open(path, writable, 100, &store, NULL);
	if (error < 0) {
		cr_assert(error == -EBADMSG || error == -EPROTO || error == -ENOSPC || error == -ENOMEM, "%s: error %d",
			  what, error);
		cr_assert(strlen(rt_store_problem()) > 0);
		return true;
	}
	error = rt_store_check(store);
	cr_assert(error == 0 || error == -EBADMSG);
	uint64_t page, seen = 0;
	for (uint64_t from = 0; rt_store_next_page(store, from, UINT64_MAX, &page); from = page + 1)
		seen++;
	cr_assert_eq(seen, rt_store_count(store, 0, UINT64_MAX));
	if (error == 0 && image != NULL) {
		const char *difference = checkpoint_difference(store, image);
		cr_assert_null(difference, "%s: %s", what, difference);
	}
	rt_store_close(store);
	return error != 0;
}

/* Addresses of the runtime area are never used twice, and 100,000 opens would use up all 16 TiB.
 * To use them again is right when nothing was left mapped, and fails when something was. */
static bool survives(const char *path, bool writable, const struct image *image, const char *what)
{
	uintptr_t *next_address = (uintptr_t *)RT_AREA_BASE, saved = *next_address;
	bool found = open_and_check(path, writable, image, what);
	*next_address = saved;
	return found;
}

/* Without the zeros the file ends with. */
static off_t used_bytes(int fd)
{
	struct stat status;
	fstat(fd, &status);
	off_t end = status.st_size;
	char block[4096];
	static const char zero[4096];
	while (end >= 4096 && pread(fd, block, 4096, end - 4096) == 4096 && memcmp(block, zero, 4096) == 0)
		end -= 4096;
	return end;
}

/* Every byte of what a block of this file begins with, `dense` bytes, and one of `step` bytes of the rest. */
static void flip_bytes(const char *path, const struct image *image, const char *name, off_t dense, off_t step)
{
	int fd = open_file(path, name);
	off_t end = used_bytes(fd);
	unsigned flips = 0, found = 0;
	for (off_t offset = 0; offset < end; offset++) {
		unsigned char byte, flipped;
		if (offset % 4096 >= dense && offset % step != step - 1)
			continue;
		cr_assert_eq(pread(fd, &byte, 1, offset), 1);
		flipped = byte ^ (unsigned char)(1U << (flips++ % 8));
		cr_assert_eq(pwrite(fd, &flipped, 1, offset), 1);
		char what[100];
		snprintf(what, sizeof(what), "%s, byte %ld of %ld", name, offset, end);
		found += survives(path, false, image, what);
		cr_assert_eq(pwrite(fd, &byte, 1, offset), 1);
	}
	fprintf(stderr, "%s: %u of %u flips found\n", name, found, flips);
	cr_assert(end < 4096 * 3 || found > 0);
	close(fd);
}

Test(store_damage, flipped_bytes)
{
	for (int settled = 0; settled < 2; settled++) {
		struct image image;
		char *path = make_sample(&image, settled);
		flip_bytes(path, &image, "super", sizeof(struct commit_record), 31);
		flip_bytes(path, &image, "index", 0, 31);
		flip_bytes(path, &image, "log", 0, 97);
		flip_bytes(path, &image, "home", 0, 8191);
		cr_assert_not(survives(path, false, &image, "undamaged"));
		remove_directory(path);
	}
}

Test(store_damage, flipped_bytes_and_a_writer)
{
	struct image image;
	char *path = make_sample(&image, false);
	uint64_t random = (uint64_t)time(NULL);
	fprintf(stderr, "seed %lu\n", random);
	for (int i = 0; i < 200; i++) {
		char *copy = copy_store(path);
		int fd = open_file(copy, file_names[next_random(&random) % FILES]);
		off_t offset = (off_t)(next_random(&random) % (uint64_t)used_bytes(fd));
		unsigned char byte;
		cr_assert_eq(pread(fd, &byte, 1, offset), 1);
		byte ^= (unsigned char)(1U << next_random(&random) % 8);
		cr_assert_eq(pwrite(fd, &byte, 1, offset), 1);
		close(fd);
		survives(copy, true, &image, "a flipped byte");
		survives(copy, false, &image, "a flipped byte, after a writer");
		remove_directory(copy);
	}
	remove_directory(path);
}

Test(store_damage, truncated_files)
{
	struct image image;
	char *path = make_sample(&image, false);
	uint64_t random = (uint64_t)time(NULL);
	fprintf(stderr, "seed %lu\n", random);
	for (int i = 0; i < 200; i++) {
		char *copy = copy_store(path);
		int fd = open_file(copy, file_names[i % FILES]);
		off_t length = (off_t)(next_random(&random) % (uint64_t)used_bytes(fd));
		cr_assert_eq(ftruncate(fd, i < 8 ? 0 : length), 0);
		close(fd);
		survives(copy, false, &image, "a truncated file");
		survives(copy, true, &image, "a truncated file and a writer");
		remove_directory(copy);
	}
	remove_directory(path);
}

Test(store_damage, missing_files)
{
	for (int i = 0; i < FILES; i++) {
		struct image image;
		char *path = make_sample(&image, true);
		run("rm %s/%s", path, file_names[i]);
		struct store *store;
		cr_assert_eq(rt_store_open(path, false, 0, &store, NULL), i == 0 ? -ENOENT : -EBADMSG);
		remove_directory(path);
	}
}

Test(store_damage, other_versions)
{
	struct image image;
	char *path = make_sample(&image, true);
	int fd = open_file(path, "super");
	struct superblock block;
	cr_assert_eq(pread(fd, &block, sizeof(block), 0), sizeof(block));
	block.version++;
	block.checksum = XXH3_64bits(&block, offsetof(struct superblock, checksum));
	cr_assert_eq(pwrite(fd, &block, sizeof(block), 0), sizeof(block));
	struct store *store;
	cr_assert_eq(rt_store_open(path, false, 0, &store, NULL), -EPROTO);
	cr_assert_not_null(strstr(rt_store_problem(), "version"));
	close(fd);
	remove_directory(path);
}

/* ---- made-up structures with right checksums ---- */

static uint64_t tempting_number(uint64_t *random, uint64_t old)
{
	const uint64_t numbers[] = {
		0,
		1,
		old + 1,
		old - 1,
		old + 4096,
		old * 2,
		~0UL,
		1UL << 63,
		1UL << 47,
		(1UL << 47) - 4096,
		1UL << 32,
		0xffffffffUL,
		1UL << 52,
		old ^ (1UL << next_random(random) % 64),
		next_random(random),
		old & ~4095UL,
		~0UL << 12,
		0x7fffffffffffffffUL,
		0x7ffffffffffff000UL,
	};
	return numbers[next_random(random) % (sizeof(numbers) / sizeof(numbers[0]))];
}

/* Changes one 8-byte field among `bytes`. */
static void change_field(uint64_t *random, void *structure, size_t bytes)
{
	size_t at = next_random(random) % (bytes / 8) * 8;
	uint64_t value;
	memcpy(&value, (char *)structure + at, 8);
	value = tempting_number(random, value);
	memcpy((char *)structure + at, &value, 8);
}

static void change_record(uint64_t *random, struct commit_record *record)
{
	/* Not magic, ids and sequence: those are checked before anything is believed. */
	change_field(random, &record->epoch, sizeof(*record) - offsetof(struct commit_record, epoch));
}

static uint64_t tail_hash(const unsigned char *tail, size_t length)
{
	uint64_t hash = 0;
	for (size_t done = 0; done < length; done += TAIL_PIECE_BYTES) {
		size_t part = length - done < TAIL_PIECE_BYTES ? length - done : TAIL_PIECE_BYTES;
		hash = XXH3_64bits_withSeed(tail + done, part, hash);
	}
	return hash;
}

static void change_tail(uint64_t *random, const char *path, struct commit_record *record)
{
	int fd = open_file(path, "log");
	static unsigned char tail[1 << 20];
	size_t length = record->tail.length, interesting = length < 400 ? length : 400;
	cr_assert(length < sizeof(tail));
	cr_assert_eq(pread(fd, tail, length, (off_t)record->tail.offset), (ssize_t)length);
	change_field(random, tail + 16, interesting - 16);
	cr_assert_eq(pwrite(fd, tail, length, (off_t)record->tail.offset), (ssize_t)length);
	record->tail.hash = tail_hash(tail, length);
	close(fd);
}

static void change_index(uint64_t *random, const char *path, const struct commit_record *record)
{
	int fd = open_file(path, "index");
	struct index_slot slot;
	off_t offset = (off_t)(next_random(random) % (record->index_entries * 2) * INDEX_SLOT_BYTES);
	if (pread(fd, &slot, sizeof(slot), offset) == sizeof(slot) && slot.magic == INDEX_SLOT_MAGIC) {
		change_field(random, &slot.epoch, 8 * 10);
		slot.checksum = XXH3_64bits(&slot, offsetof(struct index_slot, checksum));
		cr_assert_eq(pwrite(fd, &slot, sizeof(slot), offset), sizeof(slot));
	}
	close(fd);
}

static void make_up(uint64_t *random, const char *path)
{
	int fd = open_file(path, "super");
	struct commit_record records[2], record;
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pread(fd, &records[i], sizeof(record), 4096 * (1 + i)), sizeof(record));
	record = records[records[1].sequence > records[0].sequence];
	if (next_random(random) % 3 == 0)
		change_tail(random, path, &record);
	if (next_random(random) % 3 == 0)
		change_index(random, path, &record);
	if (next_random(random) % 3 == 0)
		change_record(random, &record);
	record.checksum = XXH3_64bits(&record, offsetof(struct commit_record, checksum));
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pwrite(fd, &record, sizeof(record), 4096 * (1 + i)), sizeof(record));
	close(fd);
}

Test(store_damage, made_up_stores, .timeout = 300)
{
	uint64_t random = (uint64_t)time(NULL);
	fprintf(stderr, "seed %lu\n", random);
	unsigned refused = 0, rounds = 800;
	for (int settled = 0; settled < 2; settled++) {
		struct image image;
		char *path = make_sample(&image, settled);
		for (unsigned i = 0; i < rounds; i++) {
			char *copy = copy_store(path);
			make_up(&random, copy);
			refused += survives(copy, false, NULL, "made up");
			survives(copy, true, NULL, "made up, writer");
			remove_directory(copy);
		}
		remove_directory(path);
	}
	fprintf(stderr, "%u of %u made-up stores refused\n", refused, 2 * rounds);
}
