/*
 * Loss of power at any instant: every state the files could be left in holds the last committed
 * checkpoint, or the one being committed.
 *
 * The persistence contract reports each store, write and drain. What was not drained may have
 * reached the medium or not, sector by sector; a copy of the store is composed of such a choice,
 * recovered and compared. With durability `process`, what counts is the exact contents at each
 * instant.
 */
#include <time.h>

#include "runtime/store/persist.h"
#include "test_store_model.h"

#define FILES 4
#define SECTOR 64UL                          /* a cache line: finer than any block device */
#define SECTORS_MAX ((160UL << 20) / SECTOR) /* 160 MiB per file */

static const char *const file_names[FILES] = {"super", "log", "home", "index"};

/* What is on the medium for certain, and which sectors may differ by now. */
struct medium {
	ino_t inode;
	int live;               /* the store's file as it is now */
	unsigned char *durable; /* SECTORS_MAX * SECTOR */
	uint64_t durable_size;
	unsigned char *dirty; /* one byte per sector */
};

static struct {
	char *path;
	struct medium media[FILES];
	bool power;
	uint64_t random;
	struct image before, after; /* what recovery may find */
	unsigned states, sampling;
} test;

static void start_watching(const char *path)
{
	for (int i = 0; i < FILES; i++) {
		struct medium *medium = &test.media[i];
		char file[200];
		snprintf(file, sizeof(file), "%s/%s", path, file_names[i]);
		medium->live = open(file, O_RDONLY);
		struct stat status;
		fstat(medium->live, &status);
		medium->inode = status.st_ino;
		medium->durable = calloc(SECTORS_MAX, SECTOR);
		medium->dirty = calloc(SECTORS_MAX, 1);
		medium->durable_size = (uint64_t)status.st_size;
		cr_assert_eq(pread(medium->live, medium->durable, medium->durable_size, 0), status.st_size);
	}
}

static struct medium *medium_of(const struct persist_file *file)
{
	struct stat status;
	fstat(file->fd, &status);
	for (int i = 0; i < FILES; i++) {
		if (test.media[i].inode == status.st_ino)
			return &test.media[i];
	}
	return NULL;
}

static void read_sector(const struct medium *medium, uint64_t sector, unsigned char *bytes)
{
	memset(bytes, 0, SECTOR);
	cr_assert(pread(medium->live, bytes, SECTOR, (off_t)(sector * SECTOR)) >= 0);
}

static void note_drained(struct medium *medium)
{
	struct stat status;
	fstat(medium->live, &status);
	medium->durable_size = (uint64_t)status.st_size;
	for (uint64_t sector = 0; sector < SECTORS_MAX; sector++) {
		if (medium->dirty[sector])
			read_sector(medium, sector, medium->durable + sector * SECTOR);
	}
	memset(medium->dirty, 0, SECTORS_MAX);
}

static void note_changed(struct medium *medium, uint64_t offset, uint64_t length)
{
	cr_assert((offset + length) / SECTOR < SECTORS_MAX, "the test's files are larger than it can watch");
	for (uint64_t sector = offset / SECTOR; sector * SECTOR < offset + length; sector++)
		medium->dirty[sector] = 1;
}

/* How likely a sector that was not drained is to have arrived, of 8. */
static void compose_file(struct medium *medium, int directory, const char *name, unsigned likely)
{
	int out = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert(out >= 0);
	struct stat status;
	fstat(medium->live, &status);
	uint64_t size = medium->durable_size;
	if ((uint64_t)status.st_size != size && next_random(&test.random) % 2)
		size = (uint64_t)status.st_size;
	static const unsigned char zero[4096];
	for (uint64_t offset = 0; offset < size; offset += 4096) {
		unsigned char block[4096];
		memcpy(block, medium->durable + offset, 4096);
		for (uint64_t i = 0; i < 4096 / SECTOR; i++) {
			if (medium->dirty[offset / SECTOR + i] && next_random(&test.random) % 8 < likely)
				read_sector(medium, offset / SECTOR + i, block + i * SECTOR);
		}
		if (memcmp(block, zero, sizeof(block)) != 0)
			cr_assert_eq(pwrite(out, block, sizeof(block), (off_t)offset), sizeof(block));
	}
	cr_assert_eq(ftruncate(out, (off_t)size), 0);
	close(out);
}

static void try_a_state(void)
{
	char *copy = test.power ? new_directory() : copy_store(test.path);
	if (test.power) {
		int directory = open(copy, O_RDONLY | O_DIRECTORY);
		for (int i = 0; i < FILES; i++)
			compose_file(&test.media[i], directory, file_names[i],
				     (unsigned)(next_random(&test.random) % 9));
		close(openat(directory, "lock", O_WRONLY | O_CREAT, 0600));
		close(directory);
	}
	struct store *store = must_open(copy, next_random(&test.random) % 2);
	const char *difference = checkpoint_difference(store, &test.before);
	if (difference != NULL && test.after.epoch != test.before.epoch)
		difference = checkpoint_difference(store, &test.after);
	cr_assert_null(difference, "state %u: %s", test.states, difference);
	cr_assert_eq(rt_store_check(store), 0, "%s", rt_store_problem());
	rt_store_close(store);
	remove_directory(copy);
	test.states++;
}

static void watch(enum persist_event event, const struct persist_file *file, uint64_t offset, uint64_t length)
{
	struct medium *medium = medium_of(file);
	if (medium == NULL)
		return; /* of the copy */
	/* Before it took effect, and after. */
	unsigned often = event == PERSIST_STORED ? test.sampling : test.sampling / 10 + 1;
	if (medium == &test.media[0])
		often = 2; /* the commit records: few, and everything hangs on them */
	bool look = next_random(&test.random) % often == 0;
	if (event == PERSIST_DRAINED) {
		if (look && test.power)
			try_a_state();
		note_drained(medium);
	} else if (event != PERSIST_RESIZED || file->size == offset) {
		/* Longer: nothing but zeros; shorter: what was cut off may still be there. */
		note_changed(medium, offset, length);
	}
	if (look)
		try_a_state();
}

static void change_and_commit(struct store *store, struct image *open)
{
	cr_assert_eq(rt_store_begin(store), 0);
	for (unsigned i = next_random(&test.random) % 60; i > 0; i--) {
		unsigned page = next_random(&test.random) % MODEL_PAGES;
		if (page % 16 == 0)
			drop(store, open, page % 1000, page % 1000 + 40);
		else
			append(store, open, page, next_random(&test.random) | 1);
	}
	if (next_random(&test.random) % 6 == 0) {
		rt_store_abort(store);
		return;
	}
	uint64_t seed = next_random(&test.random) | 1;
	/* From here on recovery may find either. */
	test.after = *open;
	test.after.manifest = seed;
	test.after.epoch++;
	commit(store, open, seed);
	test.before = test.after;
}

static void live_and_crash(enum store_durability durability, unsigned epochs)
{
	test.random = (uint64_t)time(NULL);
	fprintf(stderr, "seed %lu\n", test.random);
	test.power = durability == STORE_DURABILITY_POWER;
	test.sampling = 150;
	test.path = new_directory();
	struct store *store = must_create(test.path, durability);
	start_watching(test.path);
	rt_persist_observer = watch;
	for (unsigned epoch = 0; epoch < epochs; epoch++) {
		struct image open = test.before;
		change_and_commit(store, &open);
		if (next_random(&test.random) % 3 == 0)
			cr_assert_eq(rt_store_settle(store, next_random(&test.random) % 2), 0);
		if (next_random(&test.random) % 8 == 0)
			cr_assert_eq(rt_store_set_owner(store, (int)epoch, 1), 0);
		if (next_random(&test.random) % 10 == 0) {
			rt_store_close(store);
			store = must_open(test.path, true);
		}
		if (next_random(&test.random) % 40 == 0) {
			memset(&test.after, 0, sizeof(test.after));
			cr_assert_eq(rt_store_clear(store), 0);
			test.before = test.after;
		}
	}
	rt_persist_observer = NULL;
	fprintf(stderr, "%u states tried\n", test.states);
	rt_store_close(store);
	remove_directory(test.path);
}

Test(store_power, loss_of_power, .timeout = 300)
{
	live_and_crash(STORE_DURABILITY_POWER, 40);
}

Test(store_power, death_of_the_process, .timeout = 300)
{
	live_and_crash(STORE_DURABILITY_PROCESS, 40);
}
