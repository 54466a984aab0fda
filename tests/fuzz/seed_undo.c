/* Makes an input of fuzz_undo: seed_undo VARIANT > FILE, with records of each kind about the files of the sandbox. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox.h"
#include "seal.h"

enum { ROOT, PROGRAM, PLAIN_FILE, DIR, DIR_A, DIR_B, DIR_LINK }; /* in sandbox_files */
#define INODE(file) (SANDBOX_INODE + (file))

static uint8_t records[1 << 16];
static size_t length;

static void add(struct undo_record record, const char *path, const char *target, const char *data)
{
	static const uint8_t zeros[8];
	uint8_t *start = records + length;
	record.path_length = path ? (uint32_t)strlen(path) + 1 : 0;
	record.target_length = target ? (uint32_t)strlen(target) + 1 : 0;
	record.data_length = data ? strlen(data) : 0;
	memset(start, 0, 4096);
	size_t at = sizeof(record);
	if (path != NULL)
		memcpy(start + at, path, record.path_length);
	if (target != NULL)
		memcpy(start + at + record.path_length, target, record.target_length);
	at = undo_data_offset(&record);
	if (data != NULL)
		memcpy(start + at, data, record.data_length);
	(void)zeros;
	record.length = (at + record.data_length + 7) & ~7UL;
	memcpy(start, &record, sizeof(record));
	length += record.length;
}

static void add_contents(void)
{
	add((struct undo_record){.kind = UNDO_FILE, .inode = INODE(PLAIN_FILE), .size = 4096}, "/file", NULL, NULL);
	add((struct undo_record){.kind = UNDO_BYTES, .inode = INODE(PLAIN_FILE), .offset = 10}, NULL, NULL, "before");
	add((struct undo_record){.kind = UNDO_BYTES, .inode = INODE(PLAIN_FILE), .offset = 5000}, NULL, NULL, "gone");
	add((struct undo_record){.kind = UNDO_FILE, .inode = INODE(DIR_A), .size = 100}, "/dir/a", NULL, NULL);
}

static void add_names(void)
{
	struct undo_record removed = {.kind = UNDO_REMOVED, .parent = INODE(DIR), .mode = S_IFREG | 0600, .size = 9};
	add((struct undo_record){.kind = UNDO_ABSENT, .parent = INODE(DIR)}, "/dir/b", NULL, NULL);
	add((struct undo_record){.kind = UNDO_CREATED, .inode = INODE(DIR_B), .parent = INODE(DIR), .mode = S_IFREG},
	    "/dir/b", NULL, NULL);
	removed.inode = 12345;
	add(removed, "/dir/removed", NULL, "contents!");
	removed.mode = S_IFLNK | 0777;
	add(removed, "/dir/removed-link", NULL, "target");
	removed.mode = S_IFDIR | 0700;
	add(removed, "/dir/removed-directory", NULL, NULL);
	removed.mode = S_IFIFO | 0600;
	add(removed, "/dir/removed-fifo", NULL, NULL);
	removed.mode = S_IFREG | 0600;
	removed.flags = UNDO_LINKED;
	removed.inode = INODE(DIR_A);
	add(removed, "/dir/other", "/dir/a", NULL);
	add((struct undo_record){.kind = UNDO_RENAMED,
				 .inode = INODE(PLAIN_FILE),
				 .parent = INODE(ROOT),
				 .target_parent = INODE(ROOT)},
	    "/old-name", "/file", NULL);
	add((struct undo_record){.kind = UNDO_RENAMED,
				 .flags = UNDO_EXCHANGED,
				 .inode = INODE(DIR_A),
				 .size = INODE(DIR_LINK),
				 .parent = INODE(DIR),
				 .target_parent = INODE(DIR)},
	    "/dir/link", "/dir/a", NULL);
}

static void add_restores(void)
{
	add((struct undo_record){.kind = UNDO_REPLACED, .inode = 777, .offset = 1, .size = INODE(PLAIN_FILE)}, NULL,
	    NULL, NULL);
	add((struct undo_record){.kind = UNDO_UNDONE, .inode = 1, .offset = sizeof(struct undo_head) + 200, .size = 5},
	    NULL, NULL, NULL);
	add((struct undo_record){.kind = UNDO_FILE, .inode = 777, .size = 50}, "/file", NULL, NULL);
	add((struct undo_record){.kind = UNDO_REPLACED, .inode = 888, .offset = 2, .size = 999}, NULL, NULL, NULL);
}

int main(int argc, char **argv)
{
	int variant = argc == 2 ? atoi(argv[1]) : 0;
	struct fuzz_undo_input head = {
		.id = 4711, .generation = 5, .offset = sizeof(struct undo_head), .generations = {5, 6}};
	if (variant & 1)
		add_contents();
	head.first_length = (uint32_t)length;
	if (variant & 2)
		add_names();
	if (variant & 8)
		head.first_length = (uint32_t)length;
	if (variant & 4)
		add_restores();
	return fwrite(&head, sizeof(head), 1, stdout) == 1 && fwrite(records, length, 1, stdout) == 1 ? 0 : 1;
}
