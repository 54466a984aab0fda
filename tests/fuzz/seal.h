/*
 * Checksums made right: without them no damaged input would come further than the first check.
 */
#ifndef FUZZ_SEAL_H
#define FUZZ_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "runtime/store/undo_log.h"

/* The head of an input of fuzz_undo. */
struct fuzz_undo_input {
	uint64_t id, generation, offset; /* struct manifest_undo */
	uint64_t generations[2];         /* of the files */
	uint32_t first_length;           /* bytes of records in undo0; the rest are in undo1 */
	uint32_t flags;                  /* 0xff: nothing is made right */
};

/* Each record of `bytes`, as far as lengths lead, becomes a valid one, after `change` if it is not NULL. */
void seal_undo_records(uint8_t *bytes, size_t length, uint64_t id, uint64_t generation,
		       void (*change)(struct undo_record *record));

/*
 * A store in one piece: sections one after the other, each with bytes of one file. What lies between
 * is a hole.
 */
enum fuzz_file {
	FUZZ_SUPER,
	FUZZ_LOG,
	FUZZ_HOME,
	FUZZ_INDEX,
	FUZZ_UNDO0,
	FUZZ_UNDO1,
	FUZZ_STATISTICS,
	FUZZ_CRASH,
	FUZZ_PID,
	FUZZ_LOCK,
	FUZZ_FILES
};
extern const char *const fuzz_file_names[FUZZ_FILES];

enum fuzz_section_flag {
	FUZZ_CUT = 1,     /* the file ends behind this section, or at `offset` when it has no bytes */
	FUZZ_SEALED = 2,  /* in the first section: the checksums are made right */
	FUZZ_MISSING = 4, /* the file is removed */
};

struct fuzz_section {
	uint32_t file; /* enum fuzz_file, modulo FUZZ_FILES */
	uint32_t flags;
	uint64_t offset; /* in the file */
	uint32_t length; /* of the bytes that follow, padded to 8 */
	uint32_t zero;
};

/* Makes the checksums of the store in the directory `path` right: superblock, tails, index, pages, records. */
void seal_store(const char *path);

#endif
