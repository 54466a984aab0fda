/*
 * The undo log: from the position in the committed checkpoint on, recovery finds exactly the records that
 * were made, each whole; the one being made, or not. It can go on from there.
 */
#include "runtime/store/undo_log.h"

#include <stdio.h>
#include <string.h>

#include "power.h"
#include "replaced.h"

#define STEPS 40
#define SAMPLES 25
#define EXHAUST 64
#define RECORDS_MAX (2 * STEPS)
#define BYTES_MAX 12000
#define FILE_STEP (256UL << 10)

/* What recovery may find: the records [first, end) after `position`. */
struct log_image {
	struct manifest_undo position;
	unsigned first, end;
};

static struct {
	struct undo_log log;
	struct recording recording;
	struct world *live, *base;
	struct log_image images[4 * STEPS];
	int image;
	unsigned records; /* made so far */
	enum persist_kind kind;
	uint64_t random;
} test;

/* ---- the log ---- */

static void open_log(struct undo_log *log)
{
	memset(log, 0, sizeof(*log));
	log->limit = UNDO_LOG_BYTES - UNDO_LOG_RESERVE;
	for (unsigned i = 0; i < 2; i++) {
		recorder_open(&log->files[i], (enum medium_file)(FILE_UNDO0 + i), test.kind);
		rt_persist_grow(&log->files[i], FILE_STEP);
		rt_persist_map(&log->files[i], 0, UNDO_LOG_BYTES);
	}
}

static size_t data_length(unsigned number)
{
	return number % 5 == 0 ? 3000 + number * 100 : number % 7 * 8;
}

union filled {
	struct undo_record record;
	unsigned char bytes[BYTES_MAX];
};

static void fill_record(struct undo_record *record, unsigned number)
{
	*record = (struct undo_record){.kind = UNDO_BYTES, .inode = number, .path_length = 6};
	record->data_length = data_length(number);
	memcpy(record + 1, "/PATH", 6);
	record->length = (undo_data_offset(record) + record->data_length + 7) & ~7UL;
	memset((char *)record + undo_data_offset(record), (int)number + 1, record->data_length);
}

static bool is_record(const struct undo_record *record, unsigned number)
{
	static union filled expected;
	memset(&expected, 0, sizeof(expected));
	fill_record(&expected.record, number);
	expected.record.id = record->id;
	expected.record.generation = record->generation;
	expected.record.checksum = record->checksum;
	return memcmp(record, &expected, expected.record.length) == 0;
}

static int append(struct undo_log *log, unsigned number)
{
	int error;
	static union filled filled;
	unsigned char *place = rt_undo_log_room(log, BYTES_MAX, &error);
	if (place == NULL)
		return error;
	/* Through the journal, which then has what the log stores there by itself. */
	static const unsigned char zeros[BYTES_MAX];
	world_write(recorder_world, (enum medium_file)(FILE_UNDO0 + log->current), log->end[log->current], zeros,
		    BYTES_MAX);
	memset(&filled, 0, sizeof(filled));
	fill_record(&filled.record, number);
	memcpy(place + sizeof(filled.record), filled.bytes + sizeof(filled.record),
	       filled.record.length - sizeof(filled.record));
	return rt_undo_log_append(log, &filled.record);
}

/* ---- recovery ---- */

static const char *compare(const struct undo_log *log, const struct log_image *image, unsigned more)
{
	struct undo_cursor cursor = {image->position.generation, image->position.offset};
	const struct undo_record *record;
	unsigned number = image->first;
	while ((record = rt_undo_log_next(log, &cursor)) != NULL && number < image->end + more)
		if (!is_record(record, number++))
			return "a record that was not made";
	if (record != NULL)
		return "a record too many";
	return number == image->end + more ? NULL : "a record is missing";
}

/* Reads what is there, makes a record more, and reads all again. */
static const char *recover(const struct log_image *image, uint64_t dice)
{
	struct undo_log log;
	open_log(&log);
	const char *difference = rt_undo_log_continue(&log, &image->position) < 0
					 ? "the log is not that of the checkpoint"
					 : compare(&log, image, 0);
	if (difference == NULL && dice % 2) {
		if (append(&log, image->end) < 0)
			difference = "no record can be made";
		rt_undo_log_close(&log);
		open_log(&log);
		if (difference == NULL && rt_undo_log_continue(&log, &image->position) < 0)
			difference = "the log does not open a second time";
		if (difference == NULL)
			difference = compare(&log, image, 1);
	}
	rt_undo_log_close(&log);
	return difference;
}

static const char *check(struct walk *walk, int before, int after)
{
	size_t mark = journal_mark();
	uint64_t dice = random_next(&walk->random);
	recorder_world = walk->world;
	recorder_recording = NULL;
	const char *difference = recover(&test.images[after], dice);
	journal_revert(mark);
	if (difference != NULL && before != after) {
		difference = recover(&test.images[before], dice);
		journal_revert(mark);
	}
	return difference;
}

/* ---- a run ---- */

static struct log_image *next_image(void)
{
	test.images[test.image + 1] = test.images[test.image];
	return &test.images[test.image + 1];
}

static void begin_image(void)
{
	recorder_say(OP_BEGIN, (uint64_t)++test.image);
}

static void make_record(void)
{
	next_image()->end++;
	begin_image();
	if (append(&test.log, test.records++) < 0)
		give_up("no record can be made");
	recorder_say(OP_END, (uint64_t)test.image);
}

/* As the engine does: the stop, records while the checkpoint is written, and its commit. */
static void checkpoint(bool commits)
{
	struct manifest_undo position = rt_undo_log_turn(&test.log);
	unsigned first = test.records;
	for (uint64_t i = random_below(&test.random, 3); i > 0; i--)
		make_record();
	if (!commits)
		return;
	if (rt_undo_log_drain(&test.log) < 0)
		give_up("drain");
	struct log_image *image = next_image();
	image->position = position;
	image->first = first;
	begin_image(); /* the record of the store */
	recorder_say(OP_END, (uint64_t)test.image);
	rt_undo_log_committed(&test.log, &position);
}

static void record_run(const struct world *empty)
{
	world_copy(test.live, empty);
	recorder_world = test.live;
	recorder_recording = NULL;
	open_log(&test.log);
	if (rt_undo_log_reset(&test.log) < 0)
		give_up("reset");
	test.records = 0;
	test.image = 0;
	test.images[0] = (struct log_image){.position = rt_undo_log_turn(&test.log)};
	rt_undo_log_committed(&test.log, &test.images[0].position);
	world_copy(test.base, test.live);
	journal_start(test.base);
	recording_clear(&test.recording);
	recorder_recording = &test.recording;
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t kind = random_below(&test.random, 10);
		if (kind < 6 && test.records < RECORDS_MAX - 4)
			make_record();
		else
			checkpoint(kind != 9);
	}
	recorder_recording = NULL;
	rt_undo_log_close(&test.log);
}

int test_undo_log(const struct options *options)
{
	struct world *empty = world_new();
	uint64_t states = 0;
	test.live = world_new();
	test.base = world_new();
	test.random = options->seed;
	for (unsigned run = 0; states < options->states; run++) {
		bool process = run % 3 == 0;
		test.kind = process ? PERSIST_PROCESS : run % 3 == 1 ? PERSIST_SYNC : PERSIST_PMEM;
		record_run(empty);
		struct walk walk = {
			.recording = &test.recording,
			.world = test.base,
			.process = process,
			.samples = process ? 4 : SAMPLES,
			.exhaust = EXHAUST,
			.random = random_next(&test.random),
			.check = check,
		};
		const char *difference = walk_states(&walk);
		states += walk.states;
		if (difference == NULL)
			continue;
		printf("run %u, operation %zu of %zu, seed %lu: %s\n", run, walk.at, test.recording.count,
		       options->seed, difference);
		return 1;
	}
	printf("(%lu states of the undo log, seed %lu)\n", states, options->seed);
	return 0;
}
