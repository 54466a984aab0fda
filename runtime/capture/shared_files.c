/*
 * Files on disk that are mapped shared and writable: what the program writes to them is not seen by
 * anybody, so small ones (the index of a database, say) go to the manifest whole. In the stop.
 */
#include <errno.h>
#include <string.h>

#include "base/sys.h"
#include "engine.h"
#include "files/undo.h"

#define SAVED_LIMIT RT_UNDO_MAP_LIMIT /* bytes, of all mappings together */

/* Bytes of the file that lie in the mapping. */
static uint64_t length_in_file(const struct region *region)
{
	uint64_t length = region->end - region->start;
	if (!region->file_status_known || region->file_size <= region->offset)
		return 0;
	return region->file_size - region->offset < length ? region->file_size - region->offset : length;
}

/* Through /proc/self/mem, where a file that has been cut meanwhile is an error. */
static int put_bytes(struct engine *engine, const struct region *region, uint64_t length,
		     struct manifest_writer *writer)
{
	for (uint64_t at = 0; at < length; at += RT_PAGE_SIZE) {
		uint64_t part = length - at < RT_PAGE_SIZE ? length - at : RT_PAGE_SIZE;
		ssize_t got = rt_sys_pread(engine->memory_fd, engine->copy_buffer, part, (off_t)(region->start + at));
		if (got != (ssize_t)part)
			return -EIO;
		rt_manifest_put(writer, engine->copy_buffer, part);
	}
	return 0;
}

static void put_region(struct engine *engine, const struct region *region, uint64_t length,
		       struct manifest_writer *writer)
{
	const char *name = rt_region_name(&engine->regions, region);
	struct manifest_file_bytes record = {
		.inode = region->inode,
		.offset = region->offset,
		.length = length,
		.path_length = (uint32_t)strlen(name) + 1,
	};
	size_t start = writer->length;
	rt_manifest_begin(writer, MANIFEST_FILE_BYTES);
	rt_manifest_put(writer, &record, sizeof(record));
	rt_manifest_put(writer, name, record.path_length);
	int result = put_bytes(engine, region, length, writer);
	rt_manifest_end(writer);
	if (result < 0) /* cut by another process in this instant */
		writer->length = start;
}

void rt_capture_shared_files(struct engine *engine, struct manifest_writer *writer)
{
	uint64_t left = SAVED_LIMIT;
	engine->unsaved_file = 0;
	for (size_t i = 0; i < engine->regions.count; i++) {
		const struct region *region = &engine->regions.entries[i];
		if (region->kind != REGION_FILE_SHARED || !region->written ||
		    !rt_region_has_file(&engine->regions, region))
			continue;
		uint64_t length = length_in_file(region);
		if (length <= left) {
			put_region(engine, region, length, writer);
			left -= length;
		} else if (engine->unsaved_file == 0) {
			engine->unsaved_file = i + 1;
		}
	}
}
