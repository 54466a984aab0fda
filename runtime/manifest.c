/* Encoding and decoding of the manifest; see manifest.h. Used in the runtime and in the tools. */
#include "manifest.h"

#include <errno.h>
#include <string.h>

#include "base/memory.h"

#define FIRST_CAPACITY (64 * 1024)
#define ALIGN8(x) (((x) + 7) & ~(size_t)7)

void rt_manifest_reset(struct manifest_writer *writer)
{
	writer->length = 0;
	writer->record = 0;
	writer->failed = false;
}

static bool reserve(struct manifest_writer *writer, size_t bytes)
{
	if (writer->failed)
		return false;
	if (writer->length + bytes <= writer->capacity)
		return true;
	size_t capacity = writer->capacity ? writer->capacity : FIRST_CAPACITY;
	while (capacity < writer->length + bytes)
		capacity *= 2;
	uint8_t *grown =
		writer->bytes ? rt_memory_grow(writer->bytes, writer->capacity, capacity) : rt_memory_map(capacity);
	if (grown == NULL) {
		writer->failed = true;
		return false;
	}
	writer->bytes = grown;
	writer->capacity = capacity;
	return true;
}

void rt_manifest_begin(struct manifest_writer *writer, enum manifest_kind kind)
{
	struct manifest_record header = {.kind = (uint32_t)kind, .length = 0};
	writer->record = writer->length;
	rt_manifest_put(writer, &header, sizeof(header));
}

void rt_manifest_put(struct manifest_writer *writer, const void *bytes, size_t length)
{
	if (length == 0 || !reserve(writer, length))
		return;
	memcpy(writer->bytes + writer->length, bytes, length);
	writer->length += length;
}

void rt_manifest_end(struct manifest_writer *writer)
{
	static const uint8_t zeros[8];
	size_t payload = writer->length - writer->record - sizeof(struct manifest_record);
	rt_manifest_put(writer, zeros, ALIGN8(payload) - payload);
	if (writer->failed)
		return;
	struct manifest_record *header = (struct manifest_record *)(void *)(writer->bytes + writer->record);
	header->length = (uint32_t)payload;
}

void rt_manifest_add(struct manifest_writer *writer, enum manifest_kind kind, const void *payload, size_t length)
{
	rt_manifest_begin(writer, kind);
	rt_manifest_put(writer, payload, length);
	rt_manifest_end(writer);
}

int rt_manifest_next(struct manifest_reader *reader, uint32_t *kind, const void **payload, uint32_t *length)
{
	struct manifest_record header;
	if (reader->next == reader->length)
		return 0;
	if (reader->length - reader->next < sizeof(header))
		return -EBADMSG;
	memcpy(&header, reader->bytes + reader->next, sizeof(header));
	size_t room = reader->length - reader->next - sizeof(header);
	if (header.length > room || ALIGN8((size_t)header.length) > room)
		return -EBADMSG;
	*kind = header.kind;
	*payload = reader->bytes + reader->next + sizeof(header);
	*length = header.length;
	reader->next += sizeof(header) + ALIGN8((size_t)header.length);
	return 1;
}

const char *rt_manifest_string(const void *payload, uint32_t payload_length, size_t offset, size_t length)
{
	if (offset > payload_length || length == 0 || length > payload_length - offset)
		return NULL;
	const char *text = (const char *)payload + offset;
	return memchr(text, '\0', length) == text + length - 1 ? text : NULL;
}
