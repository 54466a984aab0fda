/*
 * Small runs: pages of zeros but for a word, so that the states of most instants can be counted, and all
 * of them are tried.
 */
#include <stdio.h>
#include <string.h>

#include "power.h"

#define SAMPLES 60   /* where there are too many */
#define EXHAUST 300U /* how many are not */

const struct medium_kind medium_kinds[3] = {
	{"process", STORE_DURABILITY_PROCESS, false},
	{"power", STORE_DURABILITY_POWER, false},
	{"power on persistent memory", STORE_DURABILITY_POWER, true},
};

static void commit_two(struct run *run, unsigned first, unsigned second)
{
	run_begin(run);
	run_append(run, first);
	run_append(run, second);
	run_commit(run);
}

static void first_commit(struct run *run)
{
	recorder_say(OP_BEGIN, 0);
	run_create(run);
	recorder_say(OP_END, 0);
	commit_two(run, 1, 20);
}

static void overwrite_and_drop(struct run *run)
{
	run_begin(run);
	run_append(run, 1);
	run_append(run, 1);
	run_append(run, 60);
	run_drop(run, 20, 21);
	run_commit(run);
}

static void settle(struct run *run)
{
	run_settle(run, true);
}

static void leave_holes(struct run *run)
{
	run_begin(run);
	run_drop(run, 0, 2); /* frees an entry of the index */
	run_append(run, 57);
	run_commit(run);
	run_settle(run, true);
	commit_two(run, 58, 60); /* uses it again */
	run_settle(run, true);
}

static void several_epochs(struct run *run)
{
	commit_two(run, 3, 4);
	run_begin(run);
	run_drop(run, 4, 5);
	run_commit(run);
	commit_two(run, 3, 60);
}

static void owner_and_abort(struct run *run)
{
	run_set_owner(run);
	run_begin(run);
	run_append(run, 3);
	run_append(run, 59);
	run_abort(run);
	commit_two(run, 5, 57);
	run_set_owner(run);
}

static void reopen(struct run *run)
{
	commit_two(run, 2, 3);
	run_reopen(run);
	commit_two(run, 3, 5);
}

static void slots(struct run *run)
{
	run_begin(run);
	run_append_slots(run, 3);
	run_append(run, 8);
	run_commit(run);
	run_settle(run, true);
}

static void clear(struct run *run)
{
	run_clear(run);
	commit_two(run, 1, 59);
	run_settle(run, true);
}

static void end(struct run *run)
{
	run_set_ended(run);
	run_set_owner(run);
	run_clear(run);
	commit_two(run, 1, 60);
}

static void (*const list[])(struct run *run) = {
	first_commit,   overwrite_and_drop,
	settle,         leave_holes,
	several_epochs, owner_and_abort,
	reopen,         slots,
	clear,          end,
	settle,         several_epochs,
};
const unsigned scenarios = sizeof(list) / sizeof(list[0]);

void run_scenario(struct run *run, unsigned number)
{
	list[number](run);
}

struct totals {
	uint64_t states, instants, exhausted;
};

static int try_kind(const struct options *options, const struct medium_kind *kind, struct totals *totals)
{
	static struct world *live, *base;
	static struct recording recording;
	if (live == NULL) {
		live = world_new();
		base = world_new();
	}
	world_copy(live, world_new());
	struct run run = {.durability = kind->durability, .random = options->seed, .small = true};
	recorder_is_pmem = kind->is_pmem;
	for (unsigned number = 0; number < scenarios; number++) {
		world_copy(base, live);
		journal_start(base);
		recorder_world = live;
		recording_clear(&recording);
		recorder_recording = &recording;
		run_start(&run, number == 0 ? -1 : run.image);
		run_scenario(&run, number);
		recorder_recording = NULL;
		run_close(&run);
		struct walk walk = {
			.recording = &recording,
			.world = base,
			.process = kind->durability == STORE_DURABILITY_PROCESS,
			.samples = SAMPLES * options->thorough,
			.exhaust = EXHAUST * options->thorough,
			.image = number == 0 ? -1 : 0,
			.random = random_next(&run.random),
			.check = model_check,
		};
		const char *difference = walk_states(&walk);
		if (difference != NULL) {
			printf("durability %s, scenario %u, operation %zu of %zu, seed %lu: %s\n", kind->name, number,
			       walk.at, recording.count, options->seed, difference);
			return 1;
		}
		totals->states += walk.states;
		totals->instants += walk.instants;
		totals->exhausted += walk.exhausted;
	}
	return 0;
}

int test_small(const struct options *options)
{
	struct totals totals = {0, 0, 0};
	model_make_contents(true);
	for (int kind = 0; kind < 3; kind++)
		if (try_kind(options, &medium_kinds[kind], &totals) != 0)
			return 1;
	printf("%lu instants, at %lu of them all states\n", totals.instants, totals.exhausted);
	printf("(%lu states, %lu of them of a recovery cut short, seed %lu)\n", totals.states, model_nested_states,
	       options->seed);
	return 0;
}
