/*
 * Changing inputs that are sequences of records: a record is changed, copied, moved or left out as a
 * whole, or a number in it gets a value that is likely to be trouble; lengths are set right after it, so that
 * what comes behind stays readable. Now and then an input is changed as plain bytes.
 */
#include <string.h>

#include "fuzz.h"
#include "runtime/manifest.h"
#include "runtime/store/undo_log.h"
#include "seal.h"

#define MAX_RECORDS 4096

uint64_t fuzz_random(uint64_t *state)
{
	*state ^= *state << 13; /* Marsaglia's xorshift64 */
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* ---- formats ---- */

static size_t manifest_length(const uint8_t *data, size_t size)
{
	struct manifest_record record;
	if (size < sizeof(record))
		return 0;
	memcpy(&record, data, sizeof(record));
	size_t length = sizeof(record) + (((size_t)record.length + 7) & ~7UL);
	return length <= size ? length : 0;
}

static void set_manifest_length(uint8_t *data, size_t length)
{
	struct manifest_record record;
	memcpy(&record, data, sizeof(record));
	record.length = (uint32_t)(length - sizeof(record));
	memcpy(data, &record, sizeof(record));
}

const struct fuzz_format fuzz_manifest_format = {manifest_length, set_manifest_length, sizeof(struct manifest_record),
						 8};

static size_t undo_length(const uint8_t *data, size_t size)
{
	uint64_t length;
	if (size < sizeof(struct undo_record))
		return 0;
	memcpy(&length, data + offsetof(struct undo_record, length), sizeof(length));
	return length >= sizeof(struct undo_record) && length <= size && length % 8 == 0 ? length : 0;
}

static void set_undo_length(uint8_t *data, size_t length)
{
	uint64_t value = length;
	memcpy(data + offsetof(struct undo_record, length), &value, sizeof(value));
}

const struct fuzz_format fuzz_undo_format = {undo_length, set_undo_length, sizeof(struct undo_record), 8};

static size_t section_length(const uint8_t *data, size_t size)
{
	struct fuzz_section section;
	if (size < sizeof(section))
		return 0;
	memcpy(&section, data, sizeof(section));
	size_t length = sizeof(section) + (((size_t)section.length + 7) & ~7UL);
	return length <= size ? length : 0;
}

static void set_section_length(uint8_t *data, size_t length)
{
	struct fuzz_section section;
	memcpy(&section, data, sizeof(section));
	section.length = (uint32_t)(length - sizeof(section));
	memcpy(data, &section, sizeof(section));
}

const struct fuzz_format fuzz_section_format = {section_length, set_section_length, sizeof(struct fuzz_section), 8};

/* ---- */

struct records {
	size_t at[MAX_RECORDS + 1];
	size_t count;
};

static void find_records(const struct fuzz_format *format, const uint8_t *data, size_t size, struct records *records)
{
	size_t at = 0, length;
	records->count = 0;
	while (records->count < MAX_RECORDS && (length = format->length(data + at, size - at)) > 0) {
		records->at[records->count++] = at;
		at += length;
	}
	records->at[records->count] = at;
}

static uint64_t tempting_number(uint64_t *random, uint64_t old)
{
	const uint64_t numbers[] = {
		0,
		1,
		old + 1,
		old - 1,
		old + 4096,
		old - 4096,
		old * 2,
		~0UL,
		~0UL - 7,
		1UL << 63,
		1UL << 47,
		(1UL << 47) - 4096,
		0x310000000000UL,
		0x300000000000UL,
		1UL << 32,
		0xffffffffUL,
		0x80000000UL,
		0x7fffffffUL,
		1UL << 52,
		old ^ (1UL << fuzz_random(random) % 64),
		fuzz_random(random),
		fuzz_random(random) % 64,
		old & ~4095UL,
		~0UL << 12,
		0x7fffffffffffffffUL,
		0x7ffffffffffff000UL,
	};
	return numbers[fuzz_random(random) % (sizeof(numbers) / sizeof(numbers[0]))];
}

/* One aligned number of 4 or 8 bytes. */
static void change_number(uint64_t *random, uint8_t *record, size_t length)
{
	size_t bytes = fuzz_random(random) % 2 ? 8 : 4;
	if (length < bytes)
		return;
	size_t at = fuzz_random(random) % (length / bytes) * bytes;
	uint64_t value = 0;
	memcpy(&value, record + at, bytes);
	value = tempting_number(random, value);
	memcpy(record + at, &value, bytes);
}

/* Puts `length` bytes in the place of [start, end). */
static size_t splice(uint8_t *data, size_t size, size_t limit, size_t start, size_t end, const uint8_t *bytes,
		     size_t length)
{
	if (size - (end - start) + length > limit)
		return size;
	memmove(data + start + length, data + end, size - end);
	memcpy(data + start, bytes, length);
	return size - (end - start) + length;
}

/* Bytes of one record, by libFuzzer, its length in step. */
static size_t change_bytes(const struct fuzz_format *format, uint8_t *data, size_t size, size_t limit, size_t start,
			   size_t end)
{
	static uint8_t copy[1 << 20];
	size_t length = end - start, room = sizeof(copy) - 16;
	if (length > room)
		return size;
	if (room > length + 256)
		room = length + 256;
	memcpy(copy, data + start, length);
	size_t changed =
		format->head + LLVMFuzzerMutate(copy + format->head, length - format->head, room - format->head);
	while (changed % format->align != 0)
		copy[changed++] = 0;
	format->set_length(copy, changed);
	return splice(data, size, limit, start, end, copy, changed);
}

static size_t mutate_once(const struct fuzz_format *format, uint8_t *data, size_t size, size_t limit, uint64_t *random)
{
	static struct records records;
	static uint8_t copy[1 << 20];
	find_records(format, data, size, &records);
	if (records.count == 0 || fuzz_random(random) % 16 == 0)
		return LLVMFuzzerMutate(data, size, limit);
	size_t chosen = fuzz_random(random) % records.count, other = fuzz_random(random) % (records.count + 1);
	size_t start = records.at[chosen], end = records.at[chosen + 1], length = end - start;
	switch (fuzz_random(random) % 8) {
	case 0: /* left out */ return splice(data, size, limit, start, end, data, 0);
	case 1: /* twice, the second time somewhere else */
	case 2:
		if (length > sizeof(copy))
			return size;
		memcpy(copy, data + start, length);
		return splice(data, size, limit, records.at[other], records.at[other], copy, length);
	case 3:
	case 4: return change_bytes(format, data, size, limit, start, end);
	default: change_number(random, data + start, length); return size;
	}
}

size_t fuzz_mutate_records(const struct fuzz_format *format, uint8_t *data, size_t size, size_t limit, unsigned seed)
{
	uint64_t random = (uint64_t)seed * 2654435761U + 88172645463325252UL;
	for (uint64_t times = 1 + fuzz_random(&random) % 4; times > 0; times--)
		size = mutate_once(format, data, size, limit, &random);
	return size;
}

/* The first records of one, the last of the other. */
size_t fuzz_cross_records(const struct fuzz_format *format, const uint8_t *first, size_t first_size,
			  const uint8_t *second, size_t second_size, uint8_t *out, size_t limit, unsigned seed)
{
	static struct records a, b;
	uint64_t random = (uint64_t)seed * 2654435761U + 88172645463325252UL;
	find_records(format, first, first_size, &a);
	find_records(format, second, second_size, &b);
	size_t head = a.at[fuzz_random(&random) % (a.count + 1)], from = b.at[fuzz_random(&random) % (b.count + 1)];
	size_t tail = second_size - from;
	if (head > limit)
		head = 0;
	if (tail > limit - head)
		tail = 0;
	memcpy(out, first, head);
	memcpy(out + head, second + from, tail);
	return head + tail;
}
