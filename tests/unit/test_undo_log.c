/* The undo log: what is appended is read back, across turns and reopening; damage ends it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/sys.h"
#include "runtime/store/undo_log.h"

static char directory[64];
static struct undo_log undo_log;

static void open_log(void)
{
	cr_assert_eq(rt_undo_log_open(directory, PERSIST_PROCESS, 100, &undo_log), 0);
}

static void set_up(void)
{
	strcpy(directory, "/tmp/respct-unit-XXXXXX");
	cr_assert(mkdtemp(directory));
	open_log();
	cr_assert_eq(rt_undo_log_reset(&undo_log), 0);
}

static void tear_down(void)
{
	char command[128];
	rt_undo_log_close(&undo_log);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

/* A record with the path "/PATH" and `size` bytes of data, each `number`. */
static int append(uint64_t number, size_t size)
{
	int error;
	struct undo_record record = {.kind = UNDO_BYTES, .inode = number, .path_length = 6, .data_length = size};
	char *place = rt_undo_log_room(&undo_log, sizeof(record) + 16 + size + 8, &error);
	if (place == NULL)
		return error;
	memcpy(place + sizeof(record), "/PATH", 6);
	record.length = (undo_data_offset(&record) + size + 7) & ~7UL;
	memset(place + undo_data_offset(&record), (int)number, size);
	return rt_undo_log_append(&undo_log, &record);
}

/* The numbers of the records from `position` on, as a string. */
static const char *numbers(const struct manifest_undo *position)
{
	static char text[256];
	struct undo_cursor cursor = {position->generation, position->offset};
	const struct undo_record *record;
	size_t length = 0;
	text[0] = '\0';
	while ((record = rt_undo_log_next(&undo_log, &cursor)) != NULL) {
		cr_assert_str_eq(undo_path(record), "/PATH");
		for (size_t i = 0; i < record->data_length; i++)
			cr_assert_eq(undo_data(record)[i], (uint8_t)record->inode);
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%lu ", record->inode);
	}
	return text;
}

static void reopen(const struct manifest_undo *position)
{
	rt_undo_log_close(&undo_log);
	open_log();
	cr_assert_eq(rt_undo_log_continue(&undo_log, position), 0);
}

TestSuite(undo_log, .init = set_up, .fini = tear_down);

Test(undo_log, reads_what_was_appended)
{
	struct manifest_undo first = rt_undo_log_turn(&undo_log);
	cr_assert_str_eq(numbers(&first), "");
	cr_assert_eq(append(1, 10), 0);
	cr_assert_eq(append(2, 0), 0);
	struct manifest_undo second = rt_undo_log_turn(&undo_log);
	cr_assert_eq(append(3, 5000), 0);
	cr_assert_str_eq(numbers(&first), "1 2 3 ");
	cr_assert_str_eq(numbers(&second), "3 ");
}

Test(undo_log, frees_a_file_only_when_a_commit_says_so)
{
	struct manifest_undo a = rt_undo_log_turn(&undo_log);
	rt_undo_log_committed(&undo_log, &a);
	cr_assert_eq(append(1, 10), 0);
	struct manifest_undo b = rt_undo_log_turn(&undo_log);
	cr_assert_eq(b.generation, a.generation + 1);
	cr_assert_eq(append(2, 10), 0);
	/* b has not committed: a still counts, and so do both files. */
	struct manifest_undo c = rt_undo_log_turn(&undo_log);
	cr_assert_eq(c.generation, b.generation);
	cr_assert_eq(append(3, 10), 0);
	cr_assert_str_eq(numbers(&a), "1 2 3 ");
	rt_undo_log_committed(&undo_log, &c);
	struct manifest_undo d = rt_undo_log_turn(&undo_log);
	cr_assert_eq(d.generation, c.generation + 1);
	cr_assert_eq(append(4, 10), 0);
	cr_assert_str_eq(numbers(&c), "3 4 ");
	cr_assert_str_eq(numbers(&d), "4 ");
}

Test(undo_log, goes_on_after_reopening)
{
	struct manifest_undo a = rt_undo_log_turn(&undo_log);
	rt_undo_log_committed(&undo_log, &a);
	cr_assert_eq(append(1, 100), 0);
	rt_undo_log_turn(&undo_log);
	reopen(&a);
	cr_assert_str_eq(numbers(&a), "1 ");
	cr_assert_eq(append(2, 100), 0);
	cr_assert_eq(append(3, 100), 0);
	reopen(&a);
	cr_assert_eq(append(4, 100), 0);
	cr_assert_str_eq(numbers(&a), "1 2 3 4 ");
}

Test(undo_log, old_bytes_never_validate)
{
	struct manifest_undo a = rt_undo_log_turn(&undo_log), b;
	for (uint64_t i = 1; i < 6; i++) {
		rt_undo_log_committed(&undo_log, &a);
		cr_assert_eq(append(i, 100), 0);
		cr_assert_eq(append(i, 100), 0);
		b = a;
		a = rt_undo_log_turn(&undo_log);
		cr_assert_str_eq(numbers(&a), "");
	}
	cr_assert_str_eq(numbers(&b), "5 5 ");
	uint64_t id = undo_log.id;
	cr_assert_eq(rt_undo_log_reset(&undo_log), 0);
	cr_assert_neq(undo_log.id, id);
	a = rt_undo_log_turn(&undo_log);
	cr_assert_str_eq(numbers(&a), "");
}

/* Whatever byte is changed, no record behind it is taken, and nothing is read out of bounds. */
Test(undo_log, damage_ends_it)
{
	struct manifest_undo a = rt_undo_log_turn(&undo_log);
	cr_assert_eq(append(1, 20), 0);
	uint64_t second = undo_log.end[0];
	cr_assert_eq(append(2, 20), 0);
	uint8_t *bytes = rt_persist_address(&undo_log.files[0], 0);
	for (uint64_t at = second; at < undo_log.end[0]; at++) {
		uint8_t kept = bytes[at];
		bytes[at] = (uint8_t)~kept;
		cr_assert_str_eq(numbers(&a), "1 ", "byte %lu", at);
		bytes[at] = kept;
	}
	cr_assert_str_eq(numbers(&a), "1 2 ");
	struct manifest_undo hostile = {a.id, a.generation, UINT64_MAX - 7};
	cr_assert_str_eq(numbers(&hostile), "");
	hostile.offset = a.offset + 1;
	cr_assert_str_eq(numbers(&hostile), "");
}

/* Lengths that a writer who knows the checksum may choose. */
Test(undo_log, hostile_lengths_are_refused)
{
	struct manifest_undo a = rt_undo_log_turn(&undo_log);
	const uint64_t values[] = {0, 8, 7, UINT64_MAX, UINT64_MAX - 7, 1UL << 32, 64UL << 20, 200000};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		for (int field = 0; field < 4; field++) {
			int error;
			uint64_t end = undo_log.end[0];
			struct undo_record *place = rt_undo_log_room(&undo_log, 4096, &error);
			struct undo_record record = {.kind = UNDO_BYTES, .length = 256, .data_length = 8};
			memset(place, 0, 4096);
			if (field == 1)
				record.data_length = values[i] <= 8 ? 256 : values[i];
			if (field == 2)
				record.path_length = values[i] ? (uint32_t)values[i] | 1 : 200;
			if (field == 3)
				record.target_length = values[i] ? (uint32_t)values[i] | 1 : 200;
			if (field >= 2)
				memset(place + 1, 'x', 4096 - sizeof(*place));
			cr_assert_eq(rt_undo_log_append(&undo_log, &record), 0);
			if (field == 0)
				place->length = values[i];
			cr_assert_str_eq(numbers(&a), "", "field %d value %lx", field, values[i]);
			undo_log.end[0] = end;
		}
}

Test(undo_log, a_full_file_is_an_error)
{
	int error = 0;
	rt_undo_log_turn(&undo_log);
	for (int i = 0; i < 200 && error == 0; i++)
		error = append(1, 1 << 20);
	cr_assert_eq(error, -EFBIG);
	cr_assert_leq(undo_log.end[0], UNDO_LOG_BYTES - UNDO_LOG_RESERVE);
}

Test(undo_log, tells_what_was_lost)
{
	struct manifest_undo a = rt_undo_log_turn(&undo_log);
	cr_assert_not(rt_undo_log_has_loss(&undo_log, &a));
	cr_assert_eq(append(1, 8), 0);
	rt_undo_log_note_loss(&undo_log);
	cr_assert(rt_undo_log_has_loss(&undo_log, &a));
	rt_undo_log_committed(&undo_log, &a);
	cr_assert_eq(append(1, 8), 0);
	struct manifest_undo b = rt_undo_log_turn(&undo_log);
	cr_assert_not(rt_undo_log_has_loss(&undo_log, &b));
}
