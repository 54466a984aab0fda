/*
 * The undo log (runtime/store/undo_log.h): an input is the position that the manifest has, the length of
 * the part that is the file undo0, and records, first those of undo0, then those of undo1.
 *
 * The records get the id, generation and checksum that make them valid, so that what they say counts. All is
 * undone, then undone again, which a restore that was killed does.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "runtime/store/internal.h"
#include "runtime/store/undo_log.h"
#include "sandbox.h"
#include "seal.h"
#include "tools/restore/files/undo.h"

#define FILE_LIMIT (256UL << 10)

static void set_inodes(struct undo_record *record)
{
	record->inode = sandbox_inode(record->inode);
	record->parent = sandbox_inode(record->parent);
	record->target_parent = sandbox_inode(record->target_parent);
	record->size = sandbox_inode(record->size);
}

static void write_file(const char *path, uint64_t id, uint64_t generation, const uint8_t *records, size_t length,
		       bool sealed)
{
	static uint8_t file[FILE_LIMIT];
	struct undo_head head = {.magic = UNDO_LOG_MAGIC, .id = id, .generation = generation};
	if (length > sizeof(file) - sizeof(head))
		length = sizeof(file) - sizeof(head);
	head.checksum = rt_store_hash(&head, offsetof(struct undo_head, checksum));
	memcpy(file, &head, sizeof(head));
	memcpy(file + sizeof(head), records, length);
	if (sealed)
		seal_undo_records(file + sizeof(head), length, id, generation, set_inodes);
	sandbox_write(path, file, sizeof(head) + length);
}

static void use(uint8_t *input, size_t size)
{
	struct fuzz_undo_input head;
	if (size < sizeof(head))
		return;
	memcpy(&head, input, sizeof(head));
	size_t left = size - sizeof(head), first = head.first_length < left ? head.first_length : left;
	struct image image = {.undo = {head.id, head.generation, head.offset}};
	mkdir("/store", 0700);
	write_file("/store/undo0", head.id, head.generations[0], input + sizeof(head), first, head.flags != 0xff);
	write_file("/store/undo1", head.id, head.generations[1], input + sizeof(head) + first, left - first,
		   head.flags != 0xff);
	undo_changes(&image, "/store", SANDBOX_LOWEST_FD);
	undo_changes(&image, "/store", SANDBOX_LOWEST_FD);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return fuzz_need_sandbox();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	sandbox_run(use, data, size);
	return 0;
}

#ifdef FUZZING
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t limit, unsigned int seed)
{
	size_t head = sizeof(struct fuzz_undo_input);
	if (size < head || seed % 8 == 0)
		return LLVMFuzzerMutate(data, size, limit);
	return head + fuzz_mutate_records(&fuzz_undo_format, data + head, size - head, limit - head, seed);
}
#endif
