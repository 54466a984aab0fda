/*
 * Makes an input of fuzz_manifest from a real store: seed_manifest STORE > FILE.
 *
 * Files of this machine become those of the sandbox, their inode numbers stand-ins; bulk is left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/descriptor/descriptor.h"
#include "runtime/manifest.h"
#include "runtime/store/store.h"
#include "sandbox.h"

#define PROGRAM 1 /* in sandbox_files */
#define PLAIN_FILE 2
#define REGION_LIMIT 24 /* libraries have many alike */
#define FILE_SIZE SANDBOX_FILE_BYTES

static struct manifest_writer writer;

static void add_with_text(enum manifest_kind kind, const void *fixed, size_t length, const char *text)
{
	rt_manifest_begin(&writer, kind);
	rt_manifest_put(&writer, fixed, length);
	if (text != NULL)
		rt_manifest_put(&writer, text, strlen(text) + 1);
	rt_manifest_end(&writer);
}

static void add_region(const void *payload, uint32_t length)
{
	struct manifest_region region;
	static unsigned files;
	memcpy(&region, payload, sizeof(region));
	const char *path = region.path_length ? (const char *)payload + sizeof(region) : NULL;
	(void)length;
	if (region.kind == REGION_FILE_PRIVATE && !(region.flags & REGION_OBJECT)) {
		if (files++ > REGION_LIMIT)
			return;
		path = "/program";
		region.inode = SANDBOX_INODE + PROGRAM;
		memset(region.build_id, SANDBOX_BUILD_ID, sizeof(region.build_id));
	} else if (region.kind == REGION_FILE_SHARED) {
		path = "/file";
		region.inode = SANDBOX_INODE + PLAIN_FILE;
		region.size = FILE_SIZE;
	} else if (region.kind == REGION_FILE_MEMORY) {
		path = "/file";
		region.inode = SANDBOX_INODE + PLAIN_FILE;
	}
	region.path_length = path ? (uint32_t)strlen(path) + 1 : 0;
	add_with_text(MANIFEST_REGION, &region, sizeof(region), path);
}

static void add_descriptor(const void *payload, uint32_t length)
{
	struct manifest_descriptor record;
	memcpy(&record, payload, sizeof(record));
	const uint8_t *contents = (const uint8_t *)payload + sizeof(record);
	const char *name = record.name_length ? (const char *)contents + record.payload_length : NULL;
	struct descriptor_file file;
	(void)length;
	if (record.payload_length > 8192)
		return;
	rt_manifest_begin(&writer, MANIFEST_DESCRIPTOR);
	if (record.kind == DESCRIPTOR_REGULAR && record.shared_with < 0) {
		name = "/file";
		record.inode = SANDBOX_INODE + PLAIN_FILE;
	} else if (record.kind == DESCRIPTOR_DIRECTORY && record.shared_with < 0) {
		name = "/dir";
		record.inode = SANDBOX_INODE + 3;
	} else if (record.kind == DESCRIPTOR_FIFO && record.shared_with < 0) {
		name = "/dir/fifo";
	} else if (record.kind == DESCRIPTOR_DEVICE && record.shared_with < 0) {
		name = "/dev/null";
	}
	record.name_length = name ? (uint32_t)strlen(name) + 1 : 0;
	rt_manifest_put(&writer, &record, sizeof(record));
	if (record.kind == DESCRIPTOR_REGULAR && record.payload_length >= sizeof(file)) {
		memcpy(&file, contents, sizeof(file));
		file.size = file.offset = FILE_SIZE;
		rt_manifest_put(&writer, &file, sizeof(file));
		rt_manifest_put(&writer, contents + sizeof(file), record.payload_length - sizeof(file));
	} else {
		rt_manifest_put(&writer, contents, record.payload_length);
	}
	if (name != NULL)
		rt_manifest_put(&writer, name, strlen(name) + 1);
	rt_manifest_end(&writer);
}

static void add_path(const void *payload)
{
	struct manifest_path path;
	memcpy(&path, payload, sizeof(path));
	const char *text = path.role == PATH_EXECUTABLE ? "/program" : "/dir";
	path.length = (uint32_t)strlen(text) + 1;
	add_with_text(MANIFEST_PATH, &path, sizeof(path), text);
}

static void add_file_bytes(const void *payload)
{
	struct manifest_file_bytes bytes;
	memcpy(&bytes, payload, sizeof(bytes));
	bytes.inode = SANDBOX_INODE + PLAIN_FILE;
	bytes.path_length = sizeof("/file");
	bytes.length = 100;
	rt_manifest_begin(&writer, MANIFEST_FILE_BYTES);
	rt_manifest_put(&writer, &bytes, sizeof(bytes));
	rt_manifest_put(&writer, "/file", sizeof("/file"));
	rt_manifest_put(&writer, "\1\2\3\4\5\6\7\10\11\12", 10);
	for (int i = 0; i < 9; i++)
		rt_manifest_put(&writer, "0123456789", 10);
	rt_manifest_end(&writer);
}

static void add_processor(const void *payload)
{
	struct manifest_processor processor;
	memcpy(&processor, payload, sizeof(processor));
	memset(processor.name, 0, sizeof(processor.name));
	rt_manifest_add(&writer, MANIFEST_PROCESSOR, &processor, sizeof(processor));
}

static void add(uint32_t kind, const void *payload, uint32_t length)
{
	switch (kind) {
	case MANIFEST_REGION: add_region(payload, length); break;
	case MANIFEST_DESCRIPTOR: add_descriptor(payload, length); break;
	case MANIFEST_PATH: add_path(payload); break;
	case MANIFEST_PROCESSOR: add_processor(payload); break;
	case MANIFEST_FILE_BYTES: add_file_bytes(payload); break;
	default: rt_manifest_add(&writer, (enum manifest_kind)kind, payload, length);
	}
}

int main(int argc, char **argv)
{
	struct store *store;
	struct manifest_reader reader = {0};
	uint32_t kind, length;
	const void *payload;
	if (argc != 2 || rt_store_open(argv[1], false, 3, &store, NULL) < 0) {
		fprintf(stderr, "seed_manifest: %s\n", argc == 2 ? rt_store_problem() : "which store?");
		return 1;
	}
	reader.bytes = rt_store_manifest(store, &reader.length);
	while (rt_manifest_next(&reader, &kind, &payload, &length) == 1)
		add(kind, payload, length);
	return fwrite(writer.bytes, writer.length, 1, stdout) == 1 ? 0 : 1;
}
