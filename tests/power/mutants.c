/*
 * The protocol broken on purpose: each change of a recording that a mistake in the store could make must
 * give a state that recovers to the wrong thing. What no state can show is explained: explain() knows why.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "power.h"
#include "replaced.h"
#include "runtime/store/format.h"

#define SAMPLES 150
#define EXHAUST 256
#define INSTANTS 16 /* after a change: as many as a settle has, and then some */

enum mutation {
	IGNORE_DRAIN,     /* operation i, a drain, does nothing */
	LOSE,             /* operation i was forgotten: a store, a change of size, a hole */
	SWAP,             /* i and the next one that is not of the same kind change places */
	LOSE_FLUSHES,     /* what the caller stored into slots is never flushed */
	SAME_RECORD_PAGE, /* each record goes over the newest one */
	SAME_INDEX_SIDE,  /* each index slot over the one in use */
	NO_RECORD_CHECKSUM,
	NO_INDEX_CHECKSUM,
	SCRIBBLE, /* operation i stores something else */
	MUTATIONS
};

static const char *const mutation_names[MUTATIONS] = {
	"drain ignored",
	"operation lost",
	"operations swapped",
	"slots not flushed",
	"record written over the newest one",
	"index slot written over the one in use",
	"checksum of records not looked at",
	"checksum of index slots not looked at",
	"",
};

static struct {
	struct world *live, *base, *now;
	struct recording recording;
	int first_image;
	uint64_t seed;
	unsigned caught, equivalent, missed;
} test;

/* ---- the recording ---- */

static void record_everything(const struct medium_kind *kind)
{
	struct run run = {.durability = kind->durability, .random = test.seed, .small = true};
	recorder_is_pmem = kind->is_pmem;
	world_copy(test.live, world_new());
	recorder_world = test.live;
	recorder_recording = NULL;
	run_start(&run, -1);
	run_scenario(&run, 0);
	test.first_image = run.image;
	world_copy(test.base, test.live);
	recording_clear(&test.recording);
	recorder_recording = &test.recording;
	for (unsigned number = 1; number < scenarios; number++)
		run_scenario(&run, number);
	recorder_recording = NULL;
	run_close(&run);
}

static bool stores(const struct op *op)
{
	return op->kind == OP_STORE || op->kind == OP_DIRECT;
}

static bool changes(const struct op *op)
{
	return stores(op) || op->kind == OP_RESIZE || op->kind == OP_PUNCH;
}

static const unsigned char *bytes_of(const struct op *op)
{
	return test.recording.data + op->data;
}

/* ---- mutants ---- */

struct mutant {
	enum mutation mutation;
	size_t at, with; /* operations */
};

static struct recording copy_of_recording(void)
{
	struct recording copy = test.recording;
	copy.ops = must_have(NULL, copy.count * sizeof(*copy.ops));
	memcpy(copy.ops, test.recording.ops, copy.count * sizeof(*copy.ops));
	return copy;
}

/* It stays in its place, but says nothing. */
static void blank(struct op *op)
{
	*op = (struct op){.kind = OP_STORE, .file = FILE_SUPER};
}

static void blank_flushes(struct recording *recording)
{
	for (size_t i = 0; i + 1 < recording->count; i++) {
		if (recording->ops[i].kind != OP_DIRECT)
			continue;
		for (size_t j = i + 1; j < recording->count && recording->ops[j].kind != OP_END; j++)
			if (recording->ops[j].kind == OP_STORE && recording->ops[j].file == FILE_LOG &&
			    recording->ops[j].offset == recording->ops[i].offset) {
				blank(&recording->ops[j]);
				break;
			}
	}
}

static void redirect(struct recording *recording, enum mutation mutation)
{
	for (size_t i = 0; i < recording->count; i++) {
		struct op *op = &recording->ops[i];
		if (!stores(op))
			continue;
		if (mutation == SAME_RECORD_PAGE && op->file == FILE_SUPER)
			op->offset = STORE_PAGE_SIZE;
		if (mutation == SAME_INDEX_SIDE && op->file == FILE_INDEX)
			op->offset = op->offset / INDEX_ENTRY_BYTES * INDEX_ENTRY_BYTES;
	}
}

static struct recording mutated(const struct mutant *mutant)
{
	struct recording copy = copy_of_recording();
	struct op op = copy.ops[mutant->at];
	switch (mutant->mutation) {
	case IGNORE_DRAIN:
	case LOSE: blank(&copy.ops[mutant->at]); break;
	case SWAP:
		memmove(&copy.ops[mutant->at], &copy.ops[mutant->at + 1], (mutant->with - mutant->at) * sizeof(op));
		copy.ops[mutant->with] = op;
		break;
	case LOSE_FLUSHES: blank_flushes(&copy); break;
	case SAME_RECORD_PAGE:
	case SAME_INDEX_SIDE: redirect(&copy, mutant->mutation); break;
	case NO_RECORD_CHECKSUM: test_skipped_checksum = offsetof(struct commit_record, checksum); break;
	case NO_INDEX_CHECKSUM: test_skipped_checksum = offsetof(struct index_slot, checksum); break;
	case SCRIBBLE: copy.ops[mutant->at].data = 0; break;
	case MUTATIONS: break;
	}
	return copy;
}

/* In a process of its own: 1 when a state was found that is wrong, 0 when none was. */
static int try_mutant(const struct mutant *mutant)
{
	struct recording recording = mutated(mutant);
	if (test_skipped_checksum != 0) /* the bytes then say so */
		record_everything(&medium_kinds[1]);
	journal_start(test.base);
	struct walk walk = {
		.recording = test_skipped_checksum != 0 ? &test.recording : &recording,
		.world = test.base,
		.samples = SAMPLES,
		.exhaust = EXHAUST,
		.image = test.first_image,
		.random = test.seed + mutant->at,
		.check = model_check,
		.from = mutant->at,
		.most = mutant->mutation < LOSE_FLUSHES ? INSTANTS : 0,
		.quick = true,
	};
	return walk_states(&walk) != NULL;
}

/* ---- what no state can show; see also is_never_read() ---- */

/* `now` is what the files hold before operation `number`. */
static void replay(size_t number)
{
	world_copy(test.now, test.base);
	for (size_t i = 0; i < number; i++) {
		const struct op *op = &test.recording.ops[i];
		if (stores(op)) {
			if (op->offset + op->length > test.now->files[op->file].size)
				world_resize(test.now, op->file, op->offset + op->length);
			world_write(test.now, op->file, op->offset, bytes_of(op), op->length);
		} else if (op->kind == OP_RESIZE) {
			world_resize(test.now, op->file, op->offset);
		} else if (op->kind == OP_PUNCH) {
			world_zero(test.now, op->file, op->offset, op->length);
		}
	}
}

/* The record a second time, in the other page. */
static bool is_mirror(const struct op *op)
{
	return stores(op) && op->file == FILE_SUPER &&
	       memcmp(test.now->files[FILE_SUPER].bytes + (3 * STORE_PAGE_SIZE - op->offset), bytes_of(op),
		      op->length) == 0;
}

static bool is_there_already(const struct op *op)
{
	return stores(op) && memcmp(test.now->files[op->file].bytes + op->offset, bytes_of(op), op->length) == 0;
}

static bool is_hole_already(const struct op *op)
{
	const struct medium *medium = &test.now->files[op->file];
	uint64_t end = op->offset + op->length < medium->size ? op->offset + op->length : medium->size;
	for (uint64_t at = op->offset; at < end; at += MEDIUM_BLOCK)
		if (medium->used[at / MEDIUM_BLOCK])
			return false;
	return op->kind == OP_PUNCH;
}

static bool is_stored_again(size_t at)
{
	const struct op *op = &test.recording.ops[at];
	for (size_t i = at + 1; stores(op) && i < test.recording.count; i++) {
		const struct op *other = &test.recording.ops[i];
		if (other->file != op->file)
			continue;
		if (other->kind == OP_DRAIN)
			return false;
		if (stores(other) && other->offset == op->offset && other->length == op->length)
			return true;
	}
	return false;
}

static const char *explain_loss(size_t at)
{
	const struct op *op = &test.recording.ops[at];
	replay(at);
	if (is_there_already(op))
		return "what it stores is there already";
	if (is_mirror(op))
		return "the record is whole in the other page";
	if (is_hole_already(op))
		return "there is a hole already";
	if (is_stored_again(at))
		return "the same place is stored to once more before the drain";
	if (op->kind == OP_RESIZE && op->offset >= test.now->files[op->file].size)
		return "the next store makes the file longer here";
	if (op->kind == OP_RESIZE)
		return "it only gives back room";
	return NULL;
}

/* What the drain makes durable: nothing, or only such things as may be lost. */
static const char *explain_drain(size_t at)
{
	const struct op *drain = &test.recording.ops[at];
	const char *why = "there was nothing to drain";
	for (size_t i = at; i-- > 0;) {
		const struct op *op = &test.recording.ops[i];
		if (op->file == drain->file && op->kind == OP_DRAIN)
			return why;
		if (op->file != drain->file || !changes(op))
			continue;
		const char *reason = explain_loss(i);
		if (reason == NULL)
			return NULL;
		why = reason;
	}
	return why;
}

static const char *explain(const struct mutant *mutant)
{
	if (mutant->mutation == LOSE)
		return explain_loss(mutant->at);
	if (mutant->mutation == IGNORE_DRAIN)
		return explain_drain(mutant->at);
	if (mutant->mutation == SWAP && test.recording.ops[mutant->at].kind == OP_DRAIN)
		return explain_drain(mutant->at);
	if (mutant->mutation == SWAP)
		return explain_loss(mutant->at);
	if (mutant->mutation == NO_INDEX_CHECKSUM)
		return "its epoch, a single word, already says that a torn one does not count";
	return NULL;
}

/* ---- all of them ---- */

/* 0 when all states of it are right. */
static int run_mutant(const struct mutant *mutant)
{
	fflush(stdout);
	pid_t child = fork();
	if (child == 0)
		_exit(try_mutant(mutant));
	int status;
	if (child < 0 || waitpid(child, &status, 0) != child)
		give_up("fork");
	return status;
}

/* A page that was dropped or aborted before its commit: nobody sees what is stored there. */
static bool is_never_read(const struct mutant *mutant)
{
	const struct mutant scribble = {.mutation = SCRIBBLE, .at = mutant->at};
	return mutant->mutation == LOSE && run_mutant(&scribble) == 0;
}

static void judge(const struct mutant *mutant)
{
	if (explain(mutant) != NULL) {
		test.equivalent++;
		return;
	}
	if (run_mutant(mutant) != 0) {
		test.caught++;
		return;
	}
	if (is_never_read(mutant)) {
		test.equivalent++;
		return;
	}
	const struct op *op = &test.recording.ops[mutant->at];
	printf("not caught: %s: operation %zu (kind %d, file %d, offset %lx, length %lx), %zu\n",
	       mutation_names[mutant->mutation], mutant->at, op->kind, op->file, op->offset, op->length, mutant->with);
	test.missed++;
}

/* Swaps that break a rule: a drain comes after what must follow it, a store after its own drain. */
static void judge_swap(size_t at)
{
	const struct op *op = &test.recording.ops[at];
	size_t next = at + 1;
	while (next < test.recording.count && test.recording.ops[next].kind == OP_BEGIN)
		next++;
	if (next == test.recording.count)
		return;
	const struct op *other = &test.recording.ops[next];
	struct mutant mutant = {SWAP, at, next};
	if (op->kind == OP_DRAIN && (other->kind == OP_END || (changes(other) && other->file == FILE_SUPER)))
		judge(&mutant);
	else if (changes(op) && other->kind == OP_DRAIN && other->file == op->file)
		judge(&mutant);
}

static void judge_kind(const struct medium_kind *kind)
{
	record_everything(kind);
	for (size_t i = 0; i < test.recording.count; i++) {
		const struct op *op = &test.recording.ops[i];
		if (op->kind == OP_DRAIN)
			judge(&(struct mutant){.mutation = IGNORE_DRAIN, .at = i});
		if (changes(op) && op->kind != OP_DIRECT)
			judge(&(struct mutant){.mutation = LOSE, .at = i});
		judge_swap(i);
	}
	for (int mutation = LOSE_FLUSHES; mutation < SCRIBBLE; mutation++)
		judge(&(struct mutant){.mutation = (enum mutation)mutation});
}

int test_mutants(const struct options *options)
{
	test.live = world_new();
	test.base = world_new();
	test.now = world_new();
	test.seed = options->seed;
	model_make_contents(true);
	record_everything(&medium_kinds[1]);
	/* The generator finds nothing in what is right. */
	const struct mutant none = {.mutation = MUTATIONS};
	if (run_mutant(&none) != 0)
		give_up("the protocol that is right is said to be wrong");
	judge_kind(&medium_kinds[1]);
	printf("(%u mutants caught, %u that nothing can show, %u missed, seed %lu)\n", test.caught, test.equivalent,
	       test.missed, options->seed);
	return test.missed > 0;
}
