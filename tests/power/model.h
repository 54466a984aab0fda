/*
 * What a store must hold: each thing that recovery may find is an image, numbered in the order in which
 * they were made. And the run that makes them, recorded.
 */
#ifndef TEST_POWER_MODEL_H
#define TEST_POWER_MODEL_H

#include "runtime/store/store.h"
#include "states.h"

#define MODEL_PAGES 64

struct image {
	uint64_t epoch;
	enum store_state state;
	int32_t exit_status, owner_pid;
	uint64_t owner_start;
	int64_t commit_time_ns;
	const unsigned char *page[MODEL_PAGES]; /* contents, NULL: not stored */
	const unsigned char *manifest;
	size_t manifest_length;
};

extern struct image *model_images;

/* Contents to choose from. `small`: all lines but a few are zeros, so that the states can be counted. */
void model_make_contents(bool small);
uint64_t model_address(unsigned page);

/* Recovers the state in walk->world, in several ways, and compares every byte with the images. Image -1: there
 * is no store yet, and one can be made. */
const char *model_check(struct walk *walk, int before, int after);
/* Which image the last check found. */
extern int model_found;
/* How often each of two was found, where they differ; and states with a crash while recovering. */
extern uint64_t model_found_before, model_found_after, model_nested_states;

/* ---- a run of the store, recorded ---- */

struct run {
	struct store *store;
	enum store_durability durability;
	int image;         /* the newest */
	struct image open; /* as the open epoch has it */
	uint64_t random;
	bool small;
	bool far; /* the log has been made long once: a second time it might not fit the media */
};

/* Opens the store whose files are in recorder_world and hold image `image`, which becomes image 0; -1:
 * there is none. */
void run_start(struct run *run, int image);
void run_create(struct run *run);
void run_reopen(struct run *run);
void run_close(struct run *run);

void run_begin(struct run *run);
void run_append(struct run *run, unsigned page);
/* Through slots: so many are taken, some are used. */
void run_append_slots(struct run *run, unsigned slots);
void run_drop(struct run *run, unsigned first, unsigned end);
void run_commit(struct run *run);
void run_abort(struct run *run);
void run_settle(struct run *run, bool force);
void run_set_owner(struct run *run);
void run_set_ended(struct run *run);
void run_clear(struct run *run);
/* Any of these. */
void run_step(struct run *run);

#endif
