#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "replaced.h"

#define CONTENTS 512
#define MANIFESTS 64
#define MANIFEST_LONGEST 200000
#define NESTED_SAMPLES 2
#define PAGE_BYTES 4096UL

struct image *model_images;
int model_found;
uint64_t model_found_before, model_found_after, model_nested_states;

static unsigned char contents[CONTENTS][PAGE_BYTES];
static unsigned char manifests[MANIFESTS][MANIFEST_LONGEST];
static size_t manifest_lengths[MANIFESTS];
static int image_count, image_capacity;

/* ---- contents ---- */

static void fill(unsigned char *bytes, size_t length, uint64_t *seed)
{
	for (size_t i = 0; i + 8 <= length; i += 8) {
		uint64_t value = random_next(seed);
		memcpy(bytes + i, &value, 8);
	}
}

void model_make_contents(bool small)
{
	uint64_t seed = 1;
	for (unsigned i = 0; i < CONTENTS; i++) {
		memset(contents[i], 0, PAGE_BYTES);
		if (small || i % 4 == 0)
			fill(contents[i] + random_below(&seed, 512) * 8, 8, &seed);
		else
			fill(contents[i], PAGE_BYTES, &seed);
	}
	for (unsigned i = 0; i < MANIFESTS; i++) {
		manifest_lengths[i] = small ? i % 2 * 16 + 8 : i % 16 == 0 ? 70000 + i * 1000 : i * 40;
		fill(manifests[i], MANIFEST_LONGEST, &seed);
	}
}

/* Three stretches: two dense ones, and pages far apart, one to a chunk. The index has a table for each 16 GiB:
 * two of them are enough. */
uint64_t model_address(unsigned page)
{
	if (page < 40)
		return 0x200000400000UL - 16 * PAGE_BYTES + page * PAGE_BYTES; /* in two chunks */
	if (page < 56)
		return 0x200000600000UL + (page - 40) * 3 * PAGE_BYTES;
	return 0x100000000000UL + (page - 56) * 0x40000000UL;
}

/* ---- comparing ---- */

static char difference_text[400];

static const char *compare_pages(struct store *store, const struct image *image)
{
	uint64_t count = 0;
	for (unsigned i = 0; i < MODEL_PAGES; i++) {
		const void *stored = rt_store_page(store, model_address(i));
		if ((stored != NULL) != (image->page[i] != NULL))
			return stored ? "a page too many" : "a page is missing";
		if (stored != NULL && memcmp(stored, image->page[i], PAGE_BYTES) != 0)
			return "the contents of a page differ";
		count += stored != NULL;
	}
	uint64_t listed = 0, page = 0;
	for (uint64_t from = 0; rt_store_next_page(store, from, UINT64_MAX, &page); from = page + 1)
		listed++;
	return listed == count && rt_store_count(store, 0, UINT64_MAX) == count ? NULL : "the count of pages differs";
}

static const char *compare(struct store *store, const struct image *image)
{
	struct store_status status;
	rt_store_status(store, &status);
	if (status.epoch != image->epoch)
		return "the epoch differs";
	if (status.state != image->state || status.exit_status != image->exit_status)
		return "the state or the exit status differs";
	if (status.owner_pid != image->owner_pid || status.owner_start != image->owner_start)
		return "the owner differs";
	if (status.commit_time_ns != image->commit_time_ns)
		return "the time of the commit differs";
	size_t length;
	const void *manifest = rt_store_manifest(store, &length);
	if (length != image->manifest_length || (length > 0 && memcmp(manifest, image->manifest, length) != 0))
		return "the manifest differs";
	const char *difference = compare_pages(store, image);
	if (difference == NULL && rt_store_check(store) != 0)
		return "the check of all pages says something is damaged";
	return difference;
}

static const char *compare_either(struct store *store, int before, int after)
{
	const char *difference = compare(store, &model_images[after]);
	model_found = after;
	if (difference == NULL || before == after || before < 0) {
		model_found_after += before != after;
		return difference;
	}
	const char *other = compare(store, &model_images[before]);
	model_found = before;
	model_found_before++;
	if (other == NULL)
		return NULL;
	snprintf(difference_text, sizeof(difference_text), "%s (and %s, compared with the one before)", difference,
		 other);
	return difference_text;
}

static const char *open_error(int error)
{
	snprintf(difference_text, sizeof(difference_text), "the store does not open: error %d, %s", -error,
		 rt_store_problem());
	return difference_text;
}

/* Recovers what is in recorder_world. */
static const char *recover(bool writable, int before, int after)
{
	struct store *store;
	uint64_t blocks = test_memory_blocks;
	int error = rt_store_open("", writable, 0, &store, NULL);
	if (error == -ENOENT && before < 0) { /* a crash before there was a store: make one now */
		recorder_recording = NULL;
		error = rt_store_create("", STORE_DURABILITY_POWER);
		before = after;
		if (error == 0)
			error = rt_store_open("", writable, 0, &store, NULL);
	}
	const char *difference = error < 0 ? open_error(error) : compare_either(store, before, after);
	if (error == 0 && writable && difference == NULL &&
	    world_used_blocks(recorder_world, FILE_HOME) > rt_store_count(store, 0, UINT64_MAX))
		difference = "home keeps room for pages that are gone";
	if (error == 0)
		rt_store_close(store);
	if (test_memory_blocks != blocks)
		difference = "recovery lost memory";
	return difference;
}

/* ---- a state ---- */

/* Recovery writes, too: cut the power while it does, some times. */
static const char *cut_recovery(struct walk *walk, const struct recording *recording, int image)
{
	struct walk inner = {
		.recording = recording,
		.world = walk->world,
		.process = walk->process,
		.nested = true,
		.samples = NESTED_SAMPLES,
		.image = image,
		.random = random_next(&walk->random),
		.check = model_check,
		.depth = walk->depth + 1,
	};
	const char *difference = walk_states(&inner);
	walk->states += inner.states;
	model_nested_states += inner.states;
	return difference;
}

const char *model_check(struct walk *walk, int before, int after)
{
	static struct recording recordings[4];
	struct recording *recording = &recordings[walk->depth];
	uint64_t dice = random_next(&walk->random);
	size_t mark = journal_mark();
	recorder_world = walk->world;
	recorder_recording = NULL;
	if (walk->quick) {
		const char *difference = recover(dice % 4 == 0, before, after);
		journal_revert(mark);
		return difference;
	}
	if (dice % 2)
		return recover(false, before, after);
	recording_clear(recording);
	recorder_recording = recording;
	const char *difference = recover(true, before, after);
	recorder_recording = NULL;
	int found = model_found;
	if (difference == NULL) /* recovery found it all the same the second time */
		difference = recover(dice % 4 != 0, found, found);
	journal_revert(mark);
	/* One in some, or there would be nothing else. */
	if (difference == NULL && recording->count > 0 && (dice >> 8) % (walk->depth == 0 ? 40 : 400) == 0 &&
	    walk->depth < 3)
		difference = cut_recovery(walk, recording, found);
	journal_revert(mark);
	model_found = found;
	return difference;
}

/* ---- a run ---- */

static void must(int error, const char *what)
{
	if (error < 0)
		give_up("%s: error %d (%s)", what, -error, rt_store_problem());
}

static struct image *new_image(struct run *run)
{
	if (image_count == image_capacity) {
		image_capacity = image_capacity ? 2 * image_capacity : 64;
		model_images = must_have(model_images, (size_t)image_capacity * sizeof(struct image));
	}
	model_images[image_count] = model_images[run->image];
	return &model_images[image_count];
}

static void announce(struct run *run)
{
	run->image = image_count++;
	recorder_say(OP_BEGIN, (uint64_t)run->image);
}

static void acknowledge(struct run *run)
{
	recorder_say(OP_END, (uint64_t)run->image);
}

static void open_store(struct run *run)
{
	must(rt_store_open("", true, 0, &run->store, NULL), "open");
	const char *difference = compare(run->store, &model_images[run->image]);
	if (difference != NULL)
		give_up("without any crash: %s", difference);
}

void run_start(struct run *run, int image)
{
	struct image first;
	memset(&first, 0, sizeof(first));
	if (image >= 0)
		first = model_images[image];
	image_count = 0;
	run->image = 0;
	run->far = false;
	if (image_capacity == 0)
		model_images = must_have(NULL, (size_t)(image_capacity = 64) * sizeof(struct image));
	model_images[image_count++] = first;
	if (image >= 0)
		open_store(run);
}

void run_create(struct run *run)
{
	must(rt_store_create("", run->durability), "create");
	open_store(run);
}

void run_reopen(struct run *run)
{
	rt_store_close(run->store);
	open_store(run);
}

void run_close(struct run *run)
{
	rt_store_close(run->store);
	run->store = NULL;
}

void run_begin(struct run *run)
{
	run->open = model_images[run->image];
	must(rt_store_begin(run->store), "begin");
}

static const unsigned char *any_contents(struct run *run)
{
	return contents[random_below(&run->random, CONTENTS)];
}

void run_append(struct run *run, unsigned page)
{
	run->open.page[page] = any_contents(run);
	must(rt_store_append(run->store, model_address(page), run->open.page[page]), "append");
}

void run_append_slots(struct run *run, unsigned slots)
{
	int error;
	unsigned char *place = rt_store_slots(run->store, slots, &error);
	if (place == NULL)
		must(error, "slots");
	for (unsigned i = 0; i < slots && i < 6; i++) {
		unsigned page = (unsigned)random_below(&run->random, MODEL_PAGES);
		run->open.page[page] = any_contents(run);
		memcpy(place + i * PAGE_BYTES, run->open.page[page], PAGE_BYTES);
		recorder_stored(FILE_LOG, place + i * PAGE_BYTES, PAGE_BYTES);
		if (random_below(&run->random, 4) != 0)
			must(rt_store_append_slot(run->store, i, model_address(page)), "append_slot");
		else
			must(rt_store_append(run->store, model_address(page), run->open.page[page]), "append");
	}
	rt_store_slots_done(run->store);
}

void run_drop(struct run *run, unsigned first, unsigned end)
{
	for (unsigned page = first; page < end; page++) {
		run->open.page[page] = NULL;
		must(rt_store_drop(run->store, model_address(page), model_address(page) + PAGE_BYTES), "drop");
	}
}

void run_commit(struct run *run)
{
	struct image *image = new_image(run);
	unsigned manifest = (unsigned)random_below(&run->random, MANIFESTS);
	memcpy(image->page, run->open.page, sizeof(image->page));
	image->epoch++;
	image->state = STORE_RUNNING;
	image->commit_time_ns = (int64_t)(random_next(&run->random) >> 2);
	image->manifest = manifests[manifest];
	image->manifest_length = manifest_lengths[manifest];
	announce(run);
	must(rt_store_commit(run->store, image->manifest, image->manifest_length, image->commit_time_ns), "commit");
	acknowledge(run);
}

void run_abort(struct run *run)
{
	rt_store_abort(run->store);
}

void run_settle(struct run *run, bool force)
{
	must(rt_store_settle(run->store, force), "settle");
}

void run_set_owner(struct run *run)
{
	struct image *image = new_image(run);
	image->owner_pid = (int32_t)random_below(&run->random, 1 << 20);
	image->owner_start = random_next(&run->random);
	announce(run);
	must(rt_store_set_owner(run->store, image->owner_pid, image->owner_start), "set_owner");
	acknowledge(run);
}

static void empty(struct image *image, enum store_state state, int exit_status)
{
	memset(image->page, 0, sizeof(image->page));
	image->epoch = 0;
	image->manifest = NULL;
	image->manifest_length = 0;
	image->state = state;
	image->exit_status = exit_status;
}

void run_set_ended(struct run *run)
{
	struct image *image = new_image(run);
	empty(image, STORE_ENDED, (int32_t)random_below(&run->random, 256) << 8);
	announce(run);
	must(rt_store_set_ended(run->store, image->exit_status), "set_ended");
	acknowledge(run);
}

void run_clear(struct run *run)
{
	empty(new_image(run), STORE_EMPTY, 0);
	announce(run);
	must(rt_store_clear(run->store), "clear");
	acknowledge(run);
}

/* ---- any ---- */

static void change_pages(struct run *run)
{
	run_begin(run);
	for (uint64_t i = random_below(&run->random, 12); i > 0; i--) {
		unsigned page = (unsigned)random_below(&run->random, MODEL_PAGES);
		uint64_t kind = random_below(&run->random, 16);
		if (kind == 0)
			run_append_slots(run, 1 + (unsigned)random_below(&run->random, 8));
		else if (kind < 4)
			run_drop(run, page, page + 8 < MODEL_PAGES ? page + 8 : MODEL_PAGES);
		else
			run_append(run, page);
	}
	if (random_below(&run->random, 40) == 0)
		run_drop(run, 0, MODEL_PAGES);
	/* The log grows by a step; now and then its cursor comes close to the end of a segment. */
	if (random_below(&run->random, 12) == 0)
		must(rt_store_reserve(run->store, 5000), "reserve");
	if (random_below(&run->random, 60) == 0 && !run->far) {
		run->far = true;
		run_append_slots(run, 16380);
		run_append(run, 0);
	}
}

void run_step(struct run *run)
{
	uint64_t kind = random_below(&run->random, 32);
	if (kind < 18) {
		change_pages(run);
		if (kind == 0)
			run_abort(run);
		else
			run_commit(run);
	} else if (kind < 26) {
		run_settle(run, kind < 25);
	} else if (kind < 28) {
		run_reopen(run);
	} else if (kind < 31) {
		run_set_owner(run);
	} else if (random_below(&run->random, 2)) {
		run_clear(run);
	} else {
		run_set_ended(run);
	}
}
