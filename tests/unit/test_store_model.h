/*
 * For the tests of the store: a model of what it must hold, and directories to try it in.
 */
#ifndef TEST_STORE_MODEL_H
#define TEST_STORE_MODEL_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/store/persist.h"
#include "runtime/store/store.h"

#define MODEL_PAGES 3000
#define MODEL_PAGE_BYTES 4096UL
#define MODEL_SPARSE 40 /* the last pages are far apart, one to a chunk */

/* What a page or manifest contains follows from its seed; 0: there is none. */
struct image {
	uint64_t page[MODEL_PAGES];
	uint64_t manifest;
	uint64_t epoch;
};

static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15UL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return z ^ (z >> 31);
}

static inline uint64_t model_address(unsigned page)
{
	if (page >= MODEL_PAGES - MODEL_SPARSE)
		return 0x100000000UL * (page % MODEL_SPARSE) * 37 + 0x7000;
	return 0x200000000000UL - 300 * MODEL_PAGE_BYTES + page * MODEL_PAGE_BYTES;
}

static inline void fill_page(unsigned char *bytes, uint64_t seed)
{
	for (unsigned i = 0; i < MODEL_PAGE_BYTES; i += 8) {
		uint64_t value = next_random(&seed);
		memcpy(bytes + i, &value, 8);
	}
}

static inline size_t manifest_length(uint64_t seed)
{
	return seed % 11 == 0 ? 150000 + seed % 100000 : seed % 3000;
}

static inline void fill_manifest(unsigned char *bytes, uint64_t seed)
{
	size_t length = manifest_length(seed);
	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)(seed * 31 + i * 7 + (i >> 8));
}

/* Why the store's image differs from the model, NULL when it does not. */
static inline const char *image_difference(struct store *store, const struct image *image)
{
	static char text[200];
	unsigned char expected[MODEL_PAGE_BYTES], located[MODEL_PAGE_BYTES];
	uint64_t count = 0;
	for (unsigned i = 0; i < MODEL_PAGES; i++) {
		const void *stored = rt_store_page(store, model_address(i));
		snprintf(text, sizeof(text), "page %u (%lx): %s", i, model_address(i),
			 image->page[i] ? "missing or wrong" : "should not be there");
		if ((stored != NULL) != (image->page[i] != 0))
			return text;
		if (stored == NULL)
			continue;
		count++;
		fill_page(expected, image->page[i]);
		int fd;
		uint64_t offset;
		if (memcmp(stored, expected, sizeof(expected)) != 0 ||
		    rt_store_locate(store, model_address(i), &fd, &offset) != 0 ||
		    pread(fd, located, sizeof(located), (off_t)offset) != sizeof(located) ||
		    memcmp(located, expected, sizeof(expected)) != 0)
			return text;
	}
	uint64_t listed = 0, page = 0;
	for (uint64_t from = 0; rt_store_next_page(store, from, UINT64_MAX, &page); from = page + 1)
		listed++;
	if (listed != count || rt_store_count(store, 0, UINT64_MAX) != count)
		return "the count of pages differs";
	return NULL;
}

/* The same, for a store that has no open epoch: number and manifest, too. */
static inline const char *checkpoint_difference(struct store *store, const struct image *image)
{
	static unsigned char expected[300000];
	struct store_status status;
	rt_store_status(store, &status);
	if (status.epoch != image->epoch)
		return "the epoch differs";
	size_t length;
	const void *manifest = rt_store_manifest(store, &length);
	if (image->epoch != 0) {
		fill_manifest(expected, image->manifest);
		if (length != manifest_length(image->manifest) || memcmp(manifest, expected, length) != 0)
			return "the manifest differs";
	}
	return image_difference(store, image);
}

/* ---- directories ---- */

static inline void run(const char *format, const char *a, const char *b)
{
	char command[500];
	snprintf(command, sizeof(command), format, a, b);
	cr_assert_eq(system(command), 0, "%s", command);
}

/* A new directory, in memory unless RESPCT_TEST_DIR names a place; removed by remove_directory(). */
static inline char *new_directory(void)
{
	const char *place = getenv("RESPCT_TEST_DIR");
	char *path;
	cr_assert(asprintf(&path, "%s/test_store.XXXXXX", place ? place : "/dev/shm") > 0);
	cr_assert_not_null(mkdtemp(path));
	return path;
}

static inline void remove_directory(char *path)
{
	run("rm -rf %s%s", path, "");
	free(path);
}

static inline void copy_file(int from, int to, const char *name)
{
	int in = openat(from, name, O_RDONLY), out = openat(to, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(in >= 0 && out >= 0);
	struct stat status;
	fstat(in, &status);
	/* Holes stay holes: home is sparse. */
	for (off_t data = 0; (data = lseek(in, data, SEEK_DATA)) >= 0;) {
		off_t end = lseek(in, data, SEEK_HOLE);
		lseek(in, data, SEEK_SET);
		lseek(out, data, SEEK_SET);
		static char buffer[1 << 20];
		while (data < end) {
			size_t part = sizeof(buffer) < (size_t)(end - data) ? sizeof(buffer) : (size_t)(end - data);
			cr_assert_eq(read(in, buffer, part), (ssize_t)part);
			cr_assert_eq(write(out, buffer, part), (ssize_t)part);
			data += (off_t)part;
		}
	}
	cr_assert_eq(ftruncate(out, status.st_size), 0);
	close(in);
	close(out);
}

/* What a crash at this instant leaves to the next process. */
static inline char *copy_store(const char *path)
{
	char *copy = new_directory();
	int from = open(path, O_RDONLY | O_DIRECTORY), to = open(copy, O_RDONLY | O_DIRECTORY);
	const char *names[] = {"super", "log", "home", "index"};
	for (int i = 0; i < 4; i++)
		copy_file(from, to, names[i]);
	close(openat(to, "lock", O_WRONLY | O_CREAT, 0600));
	close(from);
	close(to);
	return copy;
}

static inline struct store *must_open(const char *path, bool writable)
{
	struct store *store = NULL;
	int holder = 0;
	int error = rt_store_open(path, writable, 100, &store, &holder);
	cr_assert_eq(error, 0, "open: %d (%s)", error, rt_store_problem());
	return store;
}

static inline struct store *must_create(const char *path, enum store_durability durability)
{
	rt_persist_load_libpmem(); /* used on persistent memory only */
	cr_assert_eq(rt_store_create(path, durability), 0);
	return must_open(path, true);
}

/* ---- driving store and model together ---- */

static inline void append(struct store *store, struct image *image, unsigned page, uint64_t seed)
{
	unsigned char bytes[MODEL_PAGE_BYTES];
	fill_page(bytes, seed);
	cr_assert_eq(rt_store_append(store, model_address(page), bytes), 0);
	image->page[page] = seed;
}

static inline void drop(struct store *store, struct image *image, unsigned first, unsigned end)
{
	for (unsigned page = first; page < end; page++)
		image->page[page] = 0;
	cr_assert_eq(rt_store_drop(store, model_address(first), model_address(end - 1) + MODEL_PAGE_BYTES), 0);
}

static inline void commit(struct store *store, struct image *image, uint64_t seed)
{
	static unsigned char manifest[300000];
	image->manifest = seed;
	image->epoch++;
	fill_manifest(manifest, seed);
	int error = rt_store_commit(store, manifest, manifest_length(seed), 1000 + (int64_t)image->epoch);
	cr_assert_eq(error, 0, "commit: %d", error);
}

#endif
