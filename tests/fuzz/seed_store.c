/*
 * Makes an input of fuzz_store: seed_store MANIFEST STATISTICS VARIANT > FILE. A small store of our own making, with
 * something of everything: pages at home and in the log, several epochs, free entries, dropped pages.
 * MANIFEST, STATISTICS and the like are files, from real stores. VARIANT: 0 epochs in the log, 1 settled, 2 ended, 3 empty.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/store/format.h"
#include "runtime/store/store.h"
#include "seal.h"

#define CHECK(condition)                                                                         \
	do {                                                                                     \
		if (!(condition)) {                                                              \
			fprintf(stderr, "seed_store: %s: %s\n", #condition, rt_store_problem()); \
			exit(1);                                                                 \
		}                                                                                \
	} while (0)

static uint8_t manifest[1 << 20];
static size_t manifest_length;

static void append(struct store *store, uint64_t page, uint64_t stamp)
{
	static uint64_t contents[512];
	contents[0] = stamp;
	CHECK(rt_store_append(store, page * STORE_PAGE_SIZE, contents) == 0);
}

static void make_epoch(struct store *store, uint64_t number)
{
	CHECK(rt_store_begin(store) == 0);
	for (uint64_t i = 0; i < 3; i++)
		append(store, 0x200000000UL + number * 2 + i * 300, number);
	append(store, 0x1f0000000UL, number);
	if (number % 2 == 0)
		CHECK(rt_store_drop(store, 0x1f0000000UL * STORE_PAGE_SIZE, 0x1f0000001UL * STORE_PAGE_SIZE) == 0);
	CHECK(rt_store_commit(store, manifest, manifest_length, 1000) == 0);
}

static void fill(const char *path, int variant)
{
	struct store *store;
	CHECK(rt_store_create(path, variant == 1 ? STORE_DURABILITY_POWER : STORE_DURABILITY_PROCESS) == 0);
	CHECK(rt_store_open(path, true, 3, &store, NULL) == 0);
	for (uint64_t number = 1; variant != 3 && number <= 6; number++) {
		make_epoch(store, number);
		if (number == 2 || number == 3)
			CHECK(rt_store_settle(store, true) == 0);
	}
	if (variant == 1)
		CHECK(rt_store_settle(store, true) == 0);
	if (variant == 2)
		CHECK(rt_store_set_ended(store, 0) == 0);
	rt_store_close(store);
}

static void put_section(const struct fuzz_section *section, const uint8_t *bytes)
{
	static const uint8_t zeros[8];
	size_t padding = -(size_t)section->length & 7;
	CHECK(fwrite(section, sizeof(*section), 1, stdout) == 1);
	CHECK(section->length == 0 || fwrite(bytes, section->length, 1, stdout) == 1);
	CHECK(padding == 0 || fwrite(zeros, padding, 1, stdout) == 1);
}

/* What is not zero, in pieces of at most a page; then the length of the file. */
static void put_file(const char *path, enum fuzz_file file, uint32_t flags)
{
	uint8_t bytes[512];
	struct stat status;
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	CHECK(fstat(fd, &status) == 0);
	for (off_t at = 0; at < status.st_size; at += sizeof(bytes)) {
		ssize_t got = pread(fd, bytes, sizeof(bytes), at);
		while (got > 0 && bytes[got - 1] == 0)
			got--;
		if (got > 0)
			put_section(&(struct fuzz_section){file, flags, (uint64_t)at, (uint32_t)got, 0}, bytes);
		if (got > 0)
			flags = 0;
	}
	put_section(&(struct fuzz_section){file, FUZZ_CUT, (uint64_t)status.st_size, 0, 0}, NULL);
	close(fd);
}

int main(int argc, char **argv)
{
	char path[] = "/tmp/respct-seed-XXXXXX", name[64];
	CHECK(argc == 4 && mkdtemp(path) != NULL);
	int fd = open(argv[1], O_RDONLY);
	ssize_t got = read(fd, manifest, sizeof(manifest));
	CHECK(got > 0);
	manifest_length = (size_t)got;
	fill(path, atoi(argv[3]));
	for (int file = 0; file < FUZZ_FILES; file++) {
		snprintf(name, sizeof(name), "%s/%s", path, fuzz_file_names[file]);
		put_file(name, (enum fuzz_file)file, file == FUZZ_SUPER ? FUZZ_SEALED : 0);
		unlink(name);
	}
	put_file(argv[2], FUZZ_STATISTICS, 0);
	rmdir(path);
	return 0;
}
