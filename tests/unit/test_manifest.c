/*
 * The manifest: what is written is read again, and nothing that is not a manifest is believed.
 *
 * What the reader is given lies at the end of a block of its own, so that a sanitizer sees a read
 * outside.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "random.h"
#include "runtime/manifest.h"

#define RECORDS 2000
#define LONGEST 700

static void fill_random(void *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)bytes)[i] = (uint8_t)next_random();
}

/* A copy that has nothing after its last byte. */
static struct manifest_reader copy_for_reading(const void *bytes, size_t length)
{
	uint8_t *copy = malloc(length);
	if (length > 0)
		memcpy(copy, bytes, length);
	return (struct manifest_reader){.bytes = copy, .length = length};
}

static void free_copy(struct manifest_reader *reader)
{
	free((void *)(uintptr_t)reader->bytes);
}

/* The next record must be this one. */
static void expect_record(struct manifest_reader *reader, uint32_t kind, const void *payload, uint32_t length)
{
	uint32_t found_kind, found_length;
	const void *found;
	cr_assert_eq(rt_manifest_next(reader, &found_kind, &found, &found_length), 1);
	cr_assert_eq(found_kind, kind);
	cr_assert_eq(found_length, length, "%u bytes, not %u", found_length, length);
	cr_assert_eq((uintptr_t)found % 8, 0u, "the payload is not aligned");
	cr_assert(length == 0 || memcmp(found, payload, length) == 0);
}

static void expect_end(struct manifest_reader *reader)
{
	uint32_t kind, length;
	const void *payload;
	cr_assert_eq(rt_manifest_next(reader, &kind, &payload, &length), 0);
	cr_assert_eq(rt_manifest_next(reader, &kind, &payload, &length), 0);
}

/* ---- round trips ---- */

/* Every fixed structure, with any contents. */
static const struct {
	enum manifest_kind kind;
	size_t length;
} structures[] = {
	{MANIFEST_PROCESS, sizeof(struct manifest_process)},
	{MANIFEST_REGION, sizeof(struct manifest_region)},
	{MANIFEST_THREAD, sizeof(struct manifest_thread)},
	{MANIFEST_DESCRIPTOR, 40},
	{MANIFEST_SIGNAL, sizeof(struct manifest_signal)},
	{MANIFEST_AUXV, 22 * 16},
	{MANIFEST_PATH, sizeof(struct manifest_path)},
	{MANIFEST_TIMER, sizeof(struct manifest_timer)},
	{MANIFEST_LIMIT, sizeof(struct manifest_limit)},
	{MANIFEST_GROUPS, 3 * sizeof(uint32_t)},
	{MANIFEST_CHILD, sizeof(struct manifest_child)},
	{MANIFEST_QUEUED_SIGNAL, sizeof(struct manifest_queued_signal)},
};

#define STRUCTURES (sizeof(structures) / sizeof(structures[0]))

Test(manifest, every_kind)
{
	static uint8_t payloads[STRUCTURES][1024];
	struct manifest_writer writer = {0};
	rt_manifest_reset(&writer);
	for (size_t i = 0; i < STRUCTURES; i++) {
		fill_random(payloads[i], structures[i].length);
		rt_manifest_add(&writer, structures[i].kind, payloads[i], structures[i].length);
	}
	cr_assert(!writer.failed);
	struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
	for (size_t i = 0; i < STRUCTURES; i++)
		expect_record(&reader, structures[i].kind, payloads[i], (uint32_t)structures[i].length);
	expect_end(&reader);
	free_copy(&reader);
}

Test(manifest, empty)
{
	struct manifest_writer writer = {0};
	rt_manifest_reset(&writer);
	cr_assert_eq(writer.length, 0u);
	struct manifest_reader reader = copy_for_reading(NULL, 0);
	expect_end(&reader);
	free_copy(&reader);
}

Test(manifest, empty_records)
{
	struct manifest_writer writer = {0};
	for (int i = 0; i < 3; i++)
		rt_manifest_add(&writer, MANIFEST_AUXV, "", 0);
	cr_assert_eq(writer.length, 3 * sizeof(struct manifest_record));
	struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
	for (int i = 0; i < 3; i++)
		expect_record(&reader, MANIFEST_AUXV, NULL, 0);
	expect_end(&reader);
	free_copy(&reader);
}

/* Whatever the length, what follows is aligned, and what fills the gap is zero. */
Test(manifest, padding)
{
	for (size_t length = 0; length < 70; length++) {
		static const uint8_t last[8] = "the end";
		uint8_t payload[70];
		struct manifest_writer writer = {0};
		memset(payload, 0xff, sizeof(payload));
		rt_manifest_add(&writer, MANIFEST_GROUPS, payload, length);
		rt_manifest_add(&writer, MANIFEST_AUXV, last, sizeof(last));
		cr_assert_eq(writer.length % 8, 0u);
		for (size_t i = 8 + length; i % 8 != 0; i++)
			cr_assert_eq(writer.bytes[i], 0);
		struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
		expect_record(&reader, MANIFEST_GROUPS, payload, (uint32_t)length);
		expect_record(&reader, MANIFEST_AUXV, last, sizeof(last));
		expect_end(&reader);
		free_copy(&reader);
	}
}

static uint8_t random_payloads[RECORDS][LONGEST];
static uint32_t random_lengths[RECORDS], random_kinds[RECORDS];

/* Puts a record's payload in pieces. */
static void put_in_pieces(struct manifest_writer *writer, const uint8_t *payload, size_t length)
{
	for (size_t done = 0, part; done < length; done += part) {
		part = 1 + next_random() % 200;
		if (part > length - done)
			part = length - done;
		rt_manifest_put(writer, payload + done, part);
	}
}

static void write_random(struct manifest_writer *writer, int count)
{
	rt_manifest_reset(writer);
	for (int i = 0; i < count; i++) {
		random_kinds[i] = 1 + next_random() % MANIFEST_QUEUED_SIGNAL;
		random_lengths[i] = next_random() % LONGEST;
		fill_random(random_payloads[i], random_lengths[i]);
		rt_manifest_begin(writer, random_kinds[i]);
		put_in_pieces(writer, random_payloads[i], random_lengths[i]);
		rt_manifest_end(writer);
	}
	cr_assert(!writer->failed);
}

static void expect_random(struct manifest_reader *reader, int count)
{
	for (int i = 0; i < count; i++)
		expect_record(reader, random_kinds[i], random_payloads[i], random_lengths[i]);
}

/* Far past the first capacity, and again in the same memory. */
Test(manifest, grows_and_is_used_again)
{
	struct manifest_writer writer = {0};
	for (int round = 0; round < 5; round++) {
		int count = round % 2 ? 3 : RECORDS;
		write_random(&writer, count);
		struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
		expect_random(&reader, count);
		expect_end(&reader);
		free_copy(&reader);
	}
	cr_assert(writer.capacity >= RECORDS * LONGEST / 2 && writer.capacity >= writer.length);
}

Test(manifest, one_large_record)
{
	const uint32_t length = 5000003;
	uint8_t *payload = malloc(length);
	struct manifest_writer writer = {0};
	fill_random(payload, length);
	rt_manifest_add(&writer, MANIFEST_DESCRIPTOR, payload, length);
	struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
	expect_record(&reader, MANIFEST_DESCRIPTOR, payload, length);
	expect_end(&reader);
	free_copy(&reader);
	free(payload);
}

/* Memory runs out: said once and for all, until the next manifest. */
Test(manifest, no_memory)
{
	static uint8_t block[1 << 20];
	struct rlimit limit, none = {0, 0};
	struct manifest_writer writer = {0};
	rt_manifest_add(&writer, MANIFEST_AUXV, block, 100);
	cr_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
	none.rlim_max = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_AS, &none), 0);
	rt_manifest_add(&writer, MANIFEST_AUXV, block, sizeof(block));
	bool failed = writer.failed;
	rt_manifest_add(&writer, MANIFEST_AUXV, block, 8);
	bool failed_after = writer.failed;
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
	cr_assert(failed && failed_after);
	rt_manifest_reset(&writer);
	rt_manifest_add(&writer, MANIFEST_AUXV, block, sizeof(block));
	cr_assert(!writer.failed);
	struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
	expect_record(&reader, MANIFEST_AUXV, block, sizeof(block));
	free_copy(&reader);
}

/* ---- malformed manifests ---- */

/* Reads to the end, touching every byte that is handed out; 0 or the error. */
static int read_all(struct manifest_reader *reader, int *count)
{
	uint32_t kind, length, sum = 0;
	const void *payload;
	int result;
	*count = 0;
	while ((result = rt_manifest_next(reader, &kind, &payload, &length)) == 1) {
		const uint8_t *bytes = payload;
		cr_assert(bytes >= reader->bytes && length <= reader->length &&
				  bytes + length <= reader->bytes + reader->length,
			  "the payload lies outside");
		for (uint32_t i = 0; i < length; i++)
			sum += bytes[i];
		(*count)++;
	}
	cr_assert(result == 0 || result == -EBADMSG, "%d", result);
	*(volatile uint32_t *)&kind = sum;
	return result;
}

/* How many whole records the first `length` bytes hold; *whole: whether nothing is left over. */
static int records_within(size_t length, int count, bool *whole)
{
	size_t end = 0;
	int i;
	for (i = 0; i < count; i++) {
		size_t next = end + sizeof(struct manifest_record) + ((random_lengths[i] + 7UL) & ~7UL);
		if (next > length)
			break;
		end = next;
	}
	*whole = end == length;
	return i;
}

Test(manifest, truncated_at_every_byte)
{
	struct manifest_writer writer = {0};
	write_random(&writer, 10);
	for (size_t length = 0; length < writer.length; length++) {
		bool whole;
		int count, expected = records_within(length, 10, &whole);
		struct manifest_reader reader = copy_for_reading(writer.bytes, length);
		cr_assert_eq(read_all(&reader, &count), whole ? 0 : -EBADMSG, "cut at %zu", length);
		cr_assert_eq(count, expected, "cut at %zu", length);
		free_copy(&reader);
	}
}

/* An error stays an error: the reader does not go past it. */
Test(manifest, stays_at_an_error)
{
	struct manifest_record header = {.kind = MANIFEST_AUXV, .length = 100};
	struct manifest_reader reader = copy_for_reading(&header, sizeof(header));
	uint32_t kind, length;
	const void *payload;
	for (int i = 0; i < 3; i++)
		cr_assert_eq(rt_manifest_next(&reader, &kind, &payload, &length), -EBADMSG);
	free_copy(&reader);
}

Test(manifest, lengths_that_are_too_large)
{
	static const uint32_t lengths[] = {1,          7,          8,          9,          16,         0x7fffffff,
					   0x80000000, 0xfffffff0, 0xfffffff7, 0xfffffff8, 0xfffffff9, 0xffffffff};
	uint8_t bytes[2 * sizeof(struct manifest_record)];
	for (size_t room = 0; room <= 8; room++) {
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			struct manifest_record header = {.kind = MANIFEST_AUXV, .length = lengths[i]};
			memset(bytes, 0, sizeof(bytes));
			memcpy(bytes, &header, sizeof(header));
			struct manifest_reader reader = copy_for_reading(bytes, sizeof(header) + room);
			int count, expected = room == 8 && lengths[i] <= 8 ? 0 : -EBADMSG;
			cr_assert_eq(read_all(&reader, &count), expected, "%u bytes in %zu", lengths[i], room);
			free_copy(&reader);
		}
	}
}

Test(manifest, damaged_bytes)
{
	struct manifest_writer writer = {0};
	for (int round = 0; round < 2000; round++) {
		int count;
		write_random(&writer, 5);
		struct manifest_reader reader = copy_for_reading(writer.bytes, writer.length);
		for (uint64_t changes = 1 + next_random() % 4; changes > 0; changes--)
			((uint8_t *)(uintptr_t)reader.bytes)[next_random() % writer.length] ^= 1 << next_random() % 8;
		read_all(&reader, &count);
		free_copy(&reader);
	}
}

/* Small lengths more often than chance would have them, so that many records are read. */
Test(manifest, random_bytes)
{
	for (int round = 0; round < 20000; round++) {
		uint8_t bytes[256];
		size_t length = next_random() % sizeof(bytes);
		fill_random(bytes, sizeof(bytes));
		for (size_t i = 4; i + 4 <= sizeof(bytes) && round % 2; i += 8)
			bytes[i + 1] = bytes[i + 2] = bytes[i + 3] = 0;
		struct manifest_reader reader = copy_for_reading(bytes, length);
		int count;
		read_all(&reader, &count);
		free_copy(&reader);
	}
}

/* ---- strings ---- */

Test(manifest, string)
{
	const char payload[] = "ab\0cd"; /* six bytes with the last terminator */
	cr_assert_str_eq(rt_manifest_string(payload, 6, 0, 3), "ab");
	cr_assert_str_eq(rt_manifest_string(payload, 6, 3, 3), "cd");
	cr_assert_str_eq(rt_manifest_string(payload, 6, 2, 1), "");
	cr_assert_null(rt_manifest_string(payload, 6, 0, 2), "not terminated");
	cr_assert_null(rt_manifest_string(payload, 6, 0, 6), "terminated in the middle");
	cr_assert_null(rt_manifest_string(payload, 6, 0, 0), "without room for the terminator");
	cr_assert_null(rt_manifest_string(payload, 5, 3, 3), "past the end");
	cr_assert_null(rt_manifest_string(payload, 6, 7, 1), "starts past the end");
	cr_assert_null(rt_manifest_string(payload, 6, 6, 1));
	cr_assert_null(rt_manifest_string(payload, 6, SIZE_MAX, 2));
	cr_assert_null(rt_manifest_string(payload, 6, 2, SIZE_MAX));
	cr_assert_null(rt_manifest_string(payload, 6, SIZE_MAX, SIZE_MAX));
}

/* Nothing is read after the payload, however long the string is said to be. */
Test(manifest, string_without_end)
{
	char *payload = malloc(6);
	memset(payload, 'x', 6);
	for (size_t offset = 0; offset < 8; offset++)
		for (size_t length = 0; length < 10; length++) {
			cr_assert_null(rt_manifest_string(payload, 6, offset, length));
			cr_assert_null(rt_manifest_string(payload, 6, offset, SIZE_MAX - length));
		}
	free(payload);
}

Test(manifest, string_of_random_bytes)
{
	for (int round = 0; round < 20000; round++) {
		size_t size = 1 + next_random() % 30;
		char *payload = malloc(size);
		for (size_t i = 0; i < size; i++)
			payload[i] = (char)(next_random() % 3);
		size_t offset = next_random() % 40, length = next_random() % 40;
		const char *text = rt_manifest_string(payload, (uint32_t)size, offset, length);
		if (text != NULL) {
			cr_assert(offset + length <= size && text == payload + offset);
			cr_assert_eq(strlen(text) + 1, length);
		}
		free(payload);
	}
}
