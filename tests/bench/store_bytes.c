/*
 * How many bytes the store writes for one appended page.
 *
 *   store_bytes DIRECTORY MIB PAGES EPOCHS
 *
 * Fills a store with MIB MiB, then commits EPOCHS epochs of PAGES random pages each, settling
 * after each as the runtime does. Every byte that is stored to the mapped log and superblock or
 * written to home and index goes through the persistence contract (runtime/store/persist.h),
 * which reports it: page contents, records, checksums, tables, the manifest, superblocks. Not
 * counted: what a file system or device adds. Ends with all pages moved home, so that the copy of
 * every page in the log is paid for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/store/persist.h"
#include "runtime/store/store.h"

#define PAGE 4096UL
#define BASE 0x200000000000UL
#define FIRST_DESCRIPTOR 100
#define MANIFEST_BYTES 8192 /* of a process with some fifty mappings */

static uint64_t bytes_stored, bytes_written, random_state = 1;

static void count_bytes(enum persist_event event, const struct persist_file *file, uint64_t offset, uint64_t length)
{
	(void)file, (void)offset;
	if (event == PERSIST_STORED)
		bytes_stored += length;
	else if (event == PERSIST_WRITTEN)
		bytes_written += length;
}

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "store_bytes: %s: %s (%d)\n", what, rt_store_problem(), result);
	exit(1);
}

static uint64_t random_page(uint64_t count)
{
	random_state = random_state * 6364136223846793005UL + 1442695040888963407UL;
	return (random_state >> 24) % count;
}

static void append(struct store *store, uint64_t page)
{
	static uint64_t contents[PAGE / 8];
	contents[page % 512] = random_state;
	check(rt_store_append(store, BASE + page * PAGE, contents), "append");
}

static void commit(struct store *store)
{
	static const char manifest[MANIFEST_BYTES];
	check(rt_store_commit(store, manifest, sizeof(manifest), 0), "commit");
	check(rt_store_settle(store, false), "settle");
}

int main(int argc, char **argv)
{
	struct store *store;
	int holder;
	if (argc != 5) {
		fprintf(stderr, "usage: store_bytes DIRECTORY MIB PAGES EPOCHS\n");
		return 2;
	}
	uint64_t pages = strtoul(argv[2], NULL, 0) * 256, dirty = strtoul(argv[3], NULL, 0);
	uint64_t epochs = strtoul(argv[4], NULL, 0);
	check(rt_store_create(argv[1], STORE_DURABILITY_PROCESS), "create");
	check(rt_store_open(argv[1], true, FIRST_DESCRIPTOR, &store, &holder), "open");
	check(rt_store_begin(store), "begin");
	for (uint64_t page = 0; page < pages; page++)
		append(store, page);
	commit(store);
	check(rt_store_settle(store, true), "settle");
	rt_persist_observer = count_bytes;
	for (uint64_t epoch = 0; epoch < epochs; epoch++) {
		check(rt_store_begin(store), "begin");
		for (uint64_t i = 0; i < dirty; i++)
			append(store, random_page(pages));
		commit(store);
	}
	check(rt_store_settle(store, true), "settle");
	printf("store_bytes_per_page %.0f\n", (double)(bytes_stored + bytes_written) / (double)(epochs * dirty));
	printf("log_bytes_per_page %.0f\n", (double)bytes_stored / (double)(epochs * dirty));
	printf("home_bytes_per_page %.0f\n", (double)bytes_written / (double)(epochs * dirty));
	rt_store_close(store);
	return 0;
}
