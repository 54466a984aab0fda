/*
 * Random runs of all operations. Each begins with what a crash has left of the one before, so that what was
 * left behind (half of a settle, a log nobody refers to) is there while the next ones are cut.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "power.h"
#include "replaced.h"

#define STEPS_MAX 30 /* of a run */
#define LIVES 12     /* runs, after which a new store is made */
#define SAMPLES 12   /* states at an instant, on average */
#define EXHAUST 24   /* as many as that: all of them */
#define NOTHING (-2)

/* What a worker has done; shared with the others. */
struct work {
	uint64_t states, nested, lives, before, after;
	bool failed;
};

static struct {
	struct world *live, *base, *next;
	struct recording recording;
	int next_image; /* what was found in `next`; NOTHING: nobody has kept a state */
} test;

/* The state at hand may be the one that the next run finds. */
static void keep(struct walk *walk)
{
	if (model_found < 0 || walk->world->files[FILE_SUPER].name != NAME_MADE)
		return; /* cut before there was a store: nothing to go on from */
	world_copy(test.next, walk->world);
	test.next_image = model_found;
}

static const char *walk_run(const struct options *options, struct run *run, const struct medium_kind *kind, int image,
			    struct walk *walk)
{
	*walk = (struct walk){
		.recording = &test.recording,
		.world = test.base,
		.process = kind->durability == STORE_DURABILITY_PROCESS,
		.samples = SAMPLES * options->thorough,
		.exhaust = EXHAUST * options->thorough,
		.image = image,
		.random = random_next(&run->random),
		.check = model_check,
		.keep = keep,
		.keep_one_in = 1 + (unsigned)random_below(&run->random, 400),
	};
	if (walk->process) /* an instant for each operation, and few of them differ much */
		walk->samples = 3;
	return walk_states(walk);
}

/* A run of `steps` from what is in `live`, then all its states. */
static int live_once(const struct options *options, struct run *run, const struct medium_kind *kind, bool first,
		     struct work *work)
{
	world_copy(test.base, test.live);
	journal_start(test.base);
	recorder_world = test.live;
	recording_clear(&test.recording);
	recorder_recording = &test.recording;
	run_start(run, first ? -1 : test.next_image);
	if (first) {
		recorder_say(OP_BEGIN, 0);
		run_create(run);
		recorder_say(OP_END, 0);
	}
	for (uint64_t steps = 1 + random_below(&run->random, STEPS_MAX); steps > 0; steps--)
		run_step(run);
	recorder_recording = NULL;
	run_close(run);
	test.next_image = NOTHING;
	struct walk walk;
	const char *difference = walk_run(options, run, kind, first ? -1 : 0, &walk);
	work->states += walk.states;
	work->nested = model_nested_states;
	work->before = model_found_before;
	work->after = model_found_after;
	work->lives++;
	if (difference == NULL)
		return 0;
	printf("durability %s, operation %zu of %zu: %s\n", kind->name, walk.at, test.recording.count, difference);
	return 1;
}

static int live_on(const struct options *options, uint64_t seed, struct work *work)
{
	struct run run = {.random = seed};
	const struct medium_kind *kind = &medium_kinds[random_below(&run.random, 5) * 2 / 3];
	run.durability = kind->durability;
	recorder_is_pmem = kind->is_pmem;
	test_random_state = seed;
	static struct world *empty;
	if (empty == NULL)
		empty = world_new();
	world_copy(test.live, empty);
	for (unsigned life = 0; life < LIVES; life++) {
		if (live_once(options, &run, kind, life == 0, work) != 0)
			return 1;
		if (test.next_image == NOTHING)
			break;
		world_copy(test.live, test.next);
	}
	return 0;
}

/* Every seed stands for itself, so that a failing one can be repeated. */
static int work_through(const struct options *options, unsigned number, struct work *work)
{
	test.live = world_new();
	test.base = world_new();
	test.next = world_new();
	model_make_contents(false);
	for (uint64_t seed = options->seed + number; work->states < options->states / options->jobs;
	     seed += options->jobs)
		if (live_on(options, seed, work) != 0) {
			printf("to repeat it: crash_states random --seed %lu --states 1\n", seed);
			fflush(stdout);
			return 1;
		}
	return 0;
}

int test_random(const struct options *options)
{
	struct work *works =
		mmap(NULL, options->jobs * sizeof(*works), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct timespec start, end;
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 0; i < options->jobs; i++)
		if (fork() == 0)
			_exit(work_through(options, i, &works[i]));
	int failed = 0, status;
	for (unsigned i = 0; i < options->jobs; i++)
		failed += wait(&status) < 0 || status != 0;
	clock_gettime(CLOCK_MONOTONIC, &end);
	struct work sum = {.failed = failed > 0};
	for (unsigned i = 0; i < options->jobs; i++) {
		sum.states += works[i].states;
		sum.nested += works[i].nested;
		sum.lives += works[i].lives;
		sum.before += works[i].before;
		sum.after += works[i].after;
	}
	double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	printf("%lu runs; while a checkpoint was being committed, the one before was found %lu times, the new one %lu "
	       "times\n",
	       sum.lives, sum.before, sum.after);
	printf("(%lu states, %lu of them of a recovery cut short, seed %lu, %.1f s, %.0f states/s)\n", sum.states,
	       sum.nested, options->seed, seconds, (double)sum.states / seconds);
	return failed > 0;
}
