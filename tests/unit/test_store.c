/*
 * The store against a model: whatever is done to it, and wherever it is cut off, it holds exactly
 * the last committed checkpoint.
 */
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "runtime/base/fail.h"
#include "test_store_model.h"

/* Seeds must not be 0. */
static uint64_t new_seed(uint64_t *random)
{
	return next_random(random) | 1;
}

static void append_some(struct store *store, struct image *image, uint64_t *random, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		append(store, image, next_random(random) % MODEL_PAGES, new_seed(random));
}

/* As pre-copy does: takes slots, fills them, uses some. */
static void append_by_slots(struct store *store, struct image *image, uint64_t *random)
{
	int error;
	unsigned count = 1 + next_random(random) % 50;
	unsigned char *slots = rt_store_slots(store, count, &error);
	cr_assert_not_null(slots, "%d", error);
	unsigned used = next_random(random) % (count + 1);
	for (unsigned i = 0; i < used; i++) {
		unsigned page = next_random(random) % MODEL_PAGES;
		uint64_t seed = new_seed(random);
		fill_page(slots + i * MODEL_PAGE_BYTES, seed);
		cr_assert_eq(rt_store_append_slot(store, i, model_address(page)), 0);
		image->page[page] = seed;
	}
	rt_store_slots_done(store);
}

static void drop_some(struct store *store, struct image *image, uint64_t *random)
{
	/* Only the dense part is in order of addresses. */
	unsigned first = next_random(random) % (MODEL_PAGES - MODEL_SPARSE);
	unsigned count = next_random(random) % 4 == 0 ? 700 : 10;
	unsigned end = first + 1 + next_random(random) % count;
	if (end > MODEL_PAGES - MODEL_SPARSE)
		end = MODEL_PAGES - MODEL_SPARSE;
	drop(store, image, first, end);
	if (next_random(random) % 8 == 0) {
		unsigned sparse = MODEL_PAGES - 1 - next_random(random) % MODEL_SPARSE;
		drop(store, image, sparse, sparse + 1);
	}
}

/* The aborted pages are exactly those that were appended or dropped, or more. */
static void expect_aborted(struct store *store, const struct image *before, const struct image *after)
{
	for (unsigned i = 0; i < MODEL_PAGES; i++) {
		if (before->page[i] == after->page[i])
			continue;
		uint64_t page;
		cr_assert(rt_store_next_aborted(store, model_address(i), &page));
		cr_assert_eq(page, model_address(i));
	}
	uint64_t last = 0, page;
	for (uint64_t from = 0; rt_store_next_aborted(store, from, &page); from = page + 4096) {
		cr_assert(page >= last);
		last = page;
	}
}

static void expect_after_crash(const char *path, const struct image *image, bool writable)
{
	char *copy = copy_store(path);
	struct store *store = must_open(copy, writable);
	const char *difference = checkpoint_difference(store, image);
	cr_assert_null(difference, "after a crash: %s", difference);
	cr_assert_eq(rt_store_check(store), 0, "%s", rt_store_problem());
	rt_store_close(store);
	remove_directory(copy);
}

static void change_some(struct store *store, struct image *image, uint64_t *random)
{
	for (unsigned i = 1 + next_random(random) % 6; i > 0; i--) {
		switch (next_random(random) % 6) {
		case 0: append_by_slots(store, image, random); break;
		case 1:
		case 2: drop_some(store, image, random); break;
		case 3: append_some(store, image, random, 300); break;
		default: append_some(store, image, random, 20);
		}
	}
}

static void random_life(uint64_t seed, enum store_durability durability, unsigned steps)
{
	fprintf(stderr, "seed %lu\n", seed);
	uint64_t random = seed;
	char *path = new_directory();
	struct store *store = must_create(path, durability);
	struct image committed = {0};
	for (unsigned step = 0; step < steps; step++) {
		struct image open = committed;
		cr_assert_eq(rt_store_begin(store), 0);
		change_some(store, &open, &random);
		const char *difference = next_random(&random) % 4 ? NULL : image_difference(store, &open);
		cr_assert_null(difference, "step %u, open epoch: %s", step, difference);
		if (next_random(&random) % 5 == 0)
			expect_after_crash(path, &committed, next_random(&random) % 2);
		if (next_random(&random) % 4 == 0) {
			rt_store_abort(store);
			expect_aborted(store, &committed, &open);
		} else {
			committed = open;
			commit(store, &committed, new_seed(&random));
		}
		if (next_random(&random) % 5 == 0)
			expect_after_crash(path, &committed, next_random(&random) % 2);
		if (next_random(&random) % 4 == 0)
			cr_assert_eq(rt_store_settle(store, next_random(&random) % 2), 0);
		if (next_random(&random) % 9 == 0) {
			rt_store_close(store);
			store = must_open(path, true);
		}
		if (next_random(&random) % 60 == 0) {
			cr_assert_eq(rt_store_clear(store), 0);
			memset(&committed, 0, sizeof(committed));
		}
		difference = checkpoint_difference(store, &committed);
		cr_assert_null(difference, "step %u: %s", step, difference);
	}
	cr_assert_eq(rt_store_check(store), 0, "%s", rt_store_problem());
	rt_store_close(store);
	remove_directory(path);
}

Test(store, random_lives)
{
	uint64_t seed = (uint64_t)time(NULL) * 1000;
	unsigned lives = getenv("RESPCT_TEST_SHORT") ? 2 : 12; /* few where machine code is emulated */
	for (unsigned i = 0; i < lives; i++)
		random_life(seed + i, STORE_DURABILITY_PROCESS, 60);
}

Test(store, random_life_with_power_durability)
{
	random_life((uint64_t)time(NULL), STORE_DURABILITY_POWER, 60);
}

Test(store, states)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	cr_assert_eq(rt_store_create(path, STORE_DURABILITY_PROCESS), -EEXIST);
	struct store_status status;
	rt_store_status(store, &status);
	cr_assert(status.state == STORE_EMPTY && status.epoch == 0 && status.page_count == 0);
	cr_assert_eq(rt_store_set_owner(store, 4711, 99), 0);

	struct image image = {0};
	cr_assert_eq(rt_store_begin(store), 0);
	append(store, &image, 5, 7);
	commit(store, &image, 3);
	rt_store_close(store);
	store = must_open(path, true);
	rt_store_status(store, &status);
	cr_assert(status.state == STORE_RUNNING && status.epoch == 1 && status.page_count == 1);
	cr_assert(status.owner_pid == 4711 && status.owner_start == 99 && status.commit_time_ns == 1001);
	cr_assert(status.bytes_on_media > 0);

	cr_assert_eq(rt_store_set_ended(store, 42 << 8), 0);
	rt_store_close(store);
	store = must_open(path, false);
	rt_store_status(store, &status);
	cr_assert(status.state == STORE_ENDED && status.exit_status == 42 << 8 && status.page_count == 0);
	cr_assert_eq(rt_store_begin(store), -EROFS);
	cr_assert_eq(rt_store_clear(store), -EROFS);
	rt_store_close(store);

	store = must_open(path, true);
	cr_assert_eq(rt_store_clear(store), 0);
	rt_store_status(store, &status);
	cr_assert(status.state == STORE_EMPTY && status.owner_pid == 4711);
	rt_store_close(store);
	remove_directory(path);
}

Test(store, refuses_wrong_use)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	unsigned char page[4096] = {1};
	cr_assert_eq(rt_store_append(store, 0x1000, page), -EINVAL, "no epoch is open");
	cr_assert_eq(rt_store_commit(store, "", 0, 0), -EINVAL);
	cr_assert_eq(rt_store_begin(store), 0);
	cr_assert_eq(rt_store_begin(store), -EINVAL);
	cr_assert_eq(rt_store_append(store, 0x1001, page), -EINVAL);
	cr_assert_eq(rt_store_append(store, 1UL << 47, page), -EINVAL);
	cr_assert_eq(rt_store_append_slot(store, 0, 0x1000), -EINVAL);
	cr_assert_eq(rt_store_drop(store, 0x2000, 0x1000), -EINVAL);
	cr_assert_eq(rt_store_settle(store, true), -EBUSY);
	int error;
	cr_assert_null(rt_store_slots(store, 0, &error));
	cr_assert_null(rt_store_slots(store, 1UL << 40, &error));
	int fds[8];
	cr_assert_eq(rt_store_descriptors(store, fds, 8), 5);
	for (int i = 0; i < 5; i++)
		cr_assert(fds[i] >= 100 && (fcntl(fds[i], F_GETFD) & FD_CLOEXEC));
	rt_store_close(store);
	cr_assert_eq(rt_store_open("/dev/shm/no such store", true, 0, &store, NULL), -ENOENT);
	remove_directory(path);
}

Test(store, a_read_only_open_changes_nothing)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	struct image image = {0};
	uint64_t random = 5;
	for (int epoch = 0; epoch < 5; epoch++) {
		cr_assert_eq(rt_store_begin(store), 0);
		append_some(store, &image, &random, 100);
		commit(store, &image, new_seed(&random));
	}
	/* While the writer is there, without the right to write. */
	run("cd %s && sha256sum super log home index > %s.sums", path, path);
	run("chmod 0400 %s/*%s", path, "");
	struct store *reader = must_open(path, false);
	cr_assert_null(checkpoint_difference(reader, &image));
	cr_assert_eq(rt_store_check(reader), 0);
	rt_store_close(reader);
	run("cd %s && sha256sum -c %s.sums >/dev/null", path, path);
	run("rm %s.sums%s", path, "");
	rt_store_close(store);
	remove_directory(path);
}

Test(store, one_process_writes)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	pid_t child = fork();
	if (child == 0) {
		struct store *second;
		int holder = 0;
		bool busy = rt_store_open(path, true, 0, &second, &holder) == -EBUSY && holder == getppid();
		_exit(busy ? 0 : 1);
	}
	int status;
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0, "a second process must be told who has it");
	rt_store_close(store);
	rt_store_close(must_open(path, true));
	remove_directory(path);
}

static int try_as_user(const char *path, unsigned uid, bool writable)
{
	pid_t child = fork();
	if (child == 0) {
		struct store *store;
		if (uid != 0 && setresuid(uid, uid, uid) != 0)
			_exit(99);
		_exit(-rt_store_open(path, writable, 0, &store, NULL));
	}
	int status;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1000;
}

Test(store, belongs_to_one_user)
{
	if (geteuid() != 0)
		cr_skip_test("needs root to change owners");
	char *path = new_directory();
	rt_store_close(must_create(path, STORE_DURABILITY_PROCESS));
	struct stat status;
	char file[200];
	snprintf(file, sizeof(file), "%s/log", path);
	stat(file, &status);
	cr_assert_eq(status.st_mode & 07777, 0600);

	cr_assert_eq(try_as_user(path, 1234, true), -EACCES, "not its owner");
	run("chown -R 1234 %s%s", path, "");
	cr_assert_eq(try_as_user(path, 1234, true), 0, "its owner");
	cr_assert_eq(try_as_user(path, 0, false), 0, "root may look at anybody's");
	cr_assert_eq(try_as_user(path, 0, true), -EACCES, "its owner could read what root writes");
	run("chmod 0620 %s/home%s", path, "");
	cr_assert_eq(try_as_user(path, 1234, true), -EACCES, "others may write a file");
	run("chmod 0600 %s/home && chown 0 %s/super", path, path);
	cr_assert_eq(try_as_user(path, 1234, true), -EACCES, "a file of somebody else");
	run("chown 1234 %s/super && chmod 0777 %s", path, path);
	cr_assert_eq(try_as_user(path, 1234, true), -EACCES, "others may write the directory");
	run("chmod 0700 %s && rm %s/home && : > /tmp/test_store.elsewhere", path, path);
	run("ln -s /tmp/test_store.elsewhere %s/home%s", path, "");
	cr_assert_eq(try_as_user(path, 0, false), -EBADMSG, "a symbolic link");
	run("rm -f /tmp/test_store.elsewhere %s/home && mkfifo -m 600 %s/home", path, path);
	cr_assert_eq(try_as_user(path, 0, false), -EBADMSG, "a fifo");
	run("rm -f %s/home && mkdir -m 700 %s/home", path, path);
	cr_assert_neq(try_as_user(path, 0, false), 0, "a directory");
	remove_directory(path);
}

static int append_until_full(struct store *store, struct image *image, uint64_t *random, unsigned first, unsigned end)
{
	unsigned char bytes[4096];
	for (unsigned page = first; page < end; page++) {
		uint64_t seed = new_seed(random);
		fill_page(bytes, seed);
		int error = rt_store_append(store, model_address(page), bytes);
		if (error < 0)
			return error;
		image->page[page] = seed;
	}
	return 0;
}

Test(store, full_device)
{
	char *path = new_directory();
	if (mount("none", path, "tmpfs", 0, "size=12m,mode=0700") != 0)
		cr_skip_test("needs root to mount a small file system");
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	struct image committed = {0};
	uint64_t random = 77;
	int failures = 0, refused_settles = 0;
	for (unsigned step = 0; step < 150; step++) {
		struct image open = committed;
		cr_assert_eq(rt_store_begin(store), 0);
		int error = 0;
		if (step % 10 == 9)
			error = append_until_full(store, &open, &random, 0, MODEL_PAGES - MODEL_SPARSE);
		else if (step % 10 == 5)
			drop(store, &open, 0, 2900);
		else
			error = append_until_full(store, &open, &random, step, step + 3);
		static unsigned char manifest[300000];
		uint64_t seed = new_seed(&random);
		fill_manifest(manifest, seed);
		if (error == 0)
			error = rt_store_commit(store, manifest, manifest_length(seed), 1000);
		if (error < 0) {
			cr_assert_eq(error, -ENOSPC);
			failures++;
			rt_store_abort(store);
		} else {
			committed = open;
			committed.manifest = seed;
			committed.epoch++;
		}
		const char *difference = checkpoint_difference(store, &committed);
		cr_assert_null(difference, "step %u: %s", step, difference);
		error = rt_store_settle(store, step % 3 == 0);
		cr_assert(error == 0 || error == -ENOSPC, "settle: %d", error);
		refused_settles += error != 0;
		difference = checkpoint_difference(store, &committed);
		cr_assert_null(difference, "step %u, settled: %s", step, difference);
		if (step % 7 == 0)
			expect_after_crash(path, &committed, step % 2);
		if (step % 11 == 0) {
			rt_store_close(store);
			store = must_open(path, true);
		}
	}
	cr_assert(failures > 0, "it was never full");
	fprintf(stderr, "full: %d commits failed, %d settles\n", failures, refused_settles);
	cr_assert_eq(rt_store_check(store), 0, "%s", rt_store_problem());
	rt_store_close(store);
	umount2(path, MNT_DETACH);
	remove_directory(path);
}

Test(store, size_is_bounded)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	struct image image = {0};
	uint64_t random = 3, largest = 0;
	cr_assert_eq(rt_store_begin(store), 0);
	for (unsigned page = 0; page < MODEL_PAGES; page++)
		append(store, &image, page, new_seed(&random));
	commit(store, &image, 1);
	/* 64 hot pages over 5000 epochs: 1.3 GB go through the log. */
	for (unsigned epoch = 0; epoch < 5000; epoch++) {
		cr_assert_eq(rt_store_begin(store), 0);
		for (unsigned i = 0; i < 64; i++)
			append(store, &image, 700 + i, new_seed(&random));
		commit(store, &image, 1 + epoch % 10);
		cr_assert_eq(rt_store_settle(store, false), 0);
		struct store_status status;
		rt_store_status(store, &status);
		if (largest < status.bytes_on_media)
			largest = status.bytes_on_media;
	}
	/* The log's least size is 16 MiB, in steps of 16 MiB, then there is the first epoch. */
	cr_assert(largest < 16777216UL * 3 + 2 * 4096 * MODEL_PAGES + (1 << 20), "%lu bytes", largest);
	cr_assert_null(checkpoint_difference(store, &image));

	/* What the program gives back, the store gives back. */
	cr_assert_eq(rt_store_begin(store), 0);
	drop(store, &image, 0, MODEL_PAGES - MODEL_SPARSE);
	commit(store, &image, 1);
	cr_assert_eq(rt_store_settle(store, true), 0);
	struct stat home;
	char file[200];
	snprintf(file, sizeof(file), "%s/home", path);
	stat(file, &home);
	cr_assert(home.st_blocks * 512 <= MODEL_SPARSE * 4096, "home keeps %ld bytes", home.st_blocks * 512);
	cr_assert_null(checkpoint_difference(store, &image));
	rt_store_close(store);
	remove_directory(path);
}

Test(store, a_huge_log_shrinks)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	static unsigned char page[4096];
	cr_assert_eq(rt_store_begin(store), 0);
	cr_assert_eq(rt_store_reserve(store, 50000), 0);
	for (uint64_t i = 0; i < 50000; i++) {
		memcpy(page, &i, sizeof(i));
		cr_assert_eq(rt_store_append(store, 0x10000000 + i * 4096, page), 0);
	}
	cr_assert_eq(rt_store_commit(store, "m", 1, 0), 0);
	cr_assert_eq(rt_store_begin(store), 0);
	cr_assert_eq(rt_store_drop(store, 0x10000000, 0x10000000 + 49990 * 4096UL), 0);
	cr_assert_eq(rt_store_commit(store, "n", 1, 0), 0);
	for (int i = 0; i < 2; i++) {
		rt_store_close(store);
		store = must_open(path, true);
	}
	struct store_status status;
	rt_store_status(store, &status);
	cr_assert_eq(status.page_count, 10);
	cr_assert(status.bytes_on_media < 40 << 20, "%lu bytes", status.bytes_on_media);
	cr_assert_eq(rt_store_check(store), 0);
	const uint64_t *kept = rt_store_page(store, 0x10000000 + 49995 * 4096UL);
	cr_assert(kept != NULL && *kept == 49995);
	rt_store_close(store);
	remove_directory(path);
}

/* ---- errors ---- */

static void set_fail_point(struct rt_fail_settings *settings, const char *text)
{
	cr_assert_eq(rt_fail_parse(text, settings), 0);
	rt_fail_settings = settings;
}

static int try_commit(struct store *store, struct image *image, uint64_t seed)
{
	static unsigned char manifest[300000];
	image->manifest = seed;
	image->epoch++;
	fill_manifest(manifest, seed);
	return rt_store_commit(store, manifest, manifest_length(seed), 1000);
}

static void append_all_anew(struct store *store, struct image *image, uint64_t *random)
{
	for (unsigned page = 0; page < 300; page++)
		append(store, image, page, new_seed(random));
}

static uint64_t allocated_in_home(const char *path)
{
	char name[128];
	struct stat status;
	snprintf(name, sizeof(name), "%s/home", path);
	cr_assert_eq(stat(name, &status), 0);
	return (uint64_t)status.st_blocks * 512;
}

/* What a crash leaves is one of two checkpoints, whole. */
static void expect_one_of(const char *path, const struct image *old, const struct image *new)
{
	char *copy = copy_store(path);
	struct store *store = must_open(copy, false);
	if (checkpoint_difference(store, old) != NULL)
		cr_assert_null(checkpoint_difference(store, new), "%s", checkpoint_difference(store, new));
	cr_assert_eq(rt_store_check(store), 0, "%s", rt_store_problem());
	rt_store_close(store);
	remove_directory(copy);
}

/*
 * A commit whose record cannot be drained: nobody knows which checkpoint is valid. Its place in the log is not
 * written over before the old one is known to be.
 */
static void record_fails(enum store_durability durability)
{
	char *path = new_directory();
	struct store *store = must_create(path, durability);
	struct rt_fail_settings settings;
	static struct image image, next;
	uint64_t random = 5;
	memset(&image, 0, sizeof(image));
	for (int round = 0; round < 20; round++) {
		cr_assert_eq(rt_store_begin(store), 0);
		append_all_anew(store, &image, &random);
		commit(store, &image, round + 1);
		if (round % 5 == 4)
			cr_assert_eq(rt_store_settle(store, true), 0);

		next = image;
		cr_assert_eq(rt_store_begin(store), 0);
		append_all_anew(store, &next, &random);
		set_fail_point(&settings, "record.stored:eio:1:3");
		cr_assert_eq(try_commit(store, &next, 1000 + round), -EIO);
		expect_one_of(path, &image, &next);
		rt_store_abort(store);
		/* Neither is anything done while it cannot be taken back. */
		cr_assert_eq(rt_store_begin(store), -EIO);
		cr_assert_eq(rt_store_settle(store, true), -EIO);
		expect_one_of(path, &image, &next);
		cr_assert_eq(rt_store_begin(store), 0);
		rt_fail_settings = NULL;
		next = image;
		append_all_anew(store, &next, &random);
		expect_after_crash(path, &image, true);
		rt_store_abort(store);
		cr_assert_null(checkpoint_difference(store, &image));
	}
	rt_store_close(store);
	remove_directory(path);
}

Test(store, record_fails_process)
{
	record_fails(STORE_DURABILITY_PROCESS);
}

Test(store, record_fails_power)
{
	record_fails(STORE_DURABILITY_POWER);
}

/* The copy of a record on the other page: when that fails, the checkpoint is committed all the same. */
Test(store, copy_of_record_fails)
{
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	struct rt_fail_settings settings;
	static struct image image, next;
	uint64_t random = 6;
	for (int round = 0; round < 10; round++) {
		cr_assert_eq(rt_store_begin(store), 0);
		append_all_anew(store, &image, &random);
		set_fail_point(&settings, "record.stored:eio:2");
		commit(store, &image, round + 1);
		rt_fail_settings = NULL;
		expect_after_crash(path, &image, false);
		cr_assert_eq(rt_store_begin(store), 0);
		next = image;
		append_all_anew(store, &next, &random);
		expect_after_crash(path, &image, true);
		rt_store_abort(store);
	}
	rt_store_close(store);
	remove_directory(path);
}

/* A settle that a crash has cut short may have left pages in home that no checkpoint has: seed 114 of
 * `crash_states random` gets there. The next settle gives their room back. */
Test(store, room_of_a_settle_cut_short_is_given_back)
{
	char *path = new_directory(), name[128];
	struct store *store = must_create(path, STORE_DURABILITY_PROCESS);
	static struct image image;
	static unsigned char bytes[20 * MODEL_PAGE_BYTES];
	uint64_t random = 8;
	cr_assert_eq(rt_store_begin(store), 0);
	append_all_anew(store, &image, &random); /* at the end of their chunk */
	commit(store, &image, 1);
	int error = rt_store_settle(store, true);
	cr_assert_eq(error, 0);
	rt_store_close(store);
	snprintf(name, sizeof(name), "%s/home", path);
	int fd = open(name, O_WRONLY);
	memset(bytes, 1, sizeof(bytes));
	ssize_t written = pwrite(fd, bytes, sizeof(bytes), 0);
	cr_assert_eq(written, (ssize_t)sizeof(bytes));
	close(fd);
	store = must_open(path, true);
	cr_assert_eq(rt_store_begin(store), 0);
	append(store, &image, 0, new_seed(&random));
	commit(store, &image, 2);
	error = rt_store_settle(store, true);
	cr_assert_eq(error, 0);
	cr_assert_null(checkpoint_difference(store, &image));
	uint64_t left = allocated_in_home(path);
	cr_assert(left <= 300 * MODEL_PAGE_BYTES, "%lu bytes", left);
	rt_store_close(store);
	remove_directory(path);
}

/* Growing hides that somebody has cut a file, so it is looked at before. */
Test(store, a_file_that_was_cut_does_not_grow)
{
	char *path = new_directory(), name[128];
	char bytes[64] = "contents";
	struct iovec part = {bytes, sizeof(bytes)};
	snprintf(name, sizeof(name), "%s/file", path);
	struct persist_file file = {.fd = open(name, O_RDWR | O_CREAT, 0600), .writable = true};
	cr_assert_eq(rt_persist_write(&file, 0, &part, 1), 0);
	cr_assert_eq(truncate(name, 8), 0);
	part = (struct iovec){bytes, sizeof(bytes)};
	cr_assert_eq(rt_persist_write(&file, 4096, &part, 1), -EBADMSG);
	cr_assert_eq(rt_persist_grow(&file, 8192), -EBADMSG);
	cr_assert_eq(rt_persist_look(&file), -EBADMSG);
	rt_persist_close(&file);
	remove_directory(path);
}

/* Every point of settle fails, again and again: what is committed stays, and in the end it settles. */
Test(store, settle_fails)
{
	static const char *const points[] = {"settle.chunk",  "settle.drain", "settle.slot", "settle.index",
					     "settle.record", "store.write",  "store.drain", "record.stored",
					     "settle.rewind", "any"};
	char *path = new_directory();
	struct store *store = must_create(path, STORE_DURABILITY_POWER);
	static struct image image;
	uint64_t random = 7;
	for (unsigned round = 0; round < 60; round++) {
		char text[64];
		struct rt_fail_settings settings;
		cr_assert_eq(rt_store_begin(store), 0);
		append_all_anew(store, &image, &random);
		append_some(store, &image, &random, 50);
		drop_some(store, &image, &random);
		commit(store, &image, round + 1);
		snprintf(text, sizeof(text), "%s:eio:%u", points[round % 10], 1 + round / 10);
		set_fail_point(&settings, text);
		int error = rt_store_settle(store, true);
		rt_fail_settings = NULL;
		cr_assert(error == 0 || error == -EIO, "%s: %d", text, error);
		cr_assert_null(checkpoint_difference(store, &image));
		expect_after_crash(path, &image, round % 2);
		cr_assert_eq(rt_store_settle(store, round % 3 == 0), 0);
		cr_assert_null(checkpoint_difference(store, &image));
		expect_after_crash(path, &image, round % 2);
	}
	rt_store_close(store);
	remove_directory(path);
}
