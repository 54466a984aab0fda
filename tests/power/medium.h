/*
 * A medium in memory: the files of a store, as the tests of power loss see them.
 *
 * Each change made while the journal runs can be taken back, so that thousands of states a second are
 * made from one base: change, recover, compare, revert.
 */
#ifndef TEST_POWER_MEDIUM_H
#define TEST_POWER_MEDIUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum medium_file { FILE_SUPER, FILE_LOG, FILE_HOME, FILE_INDEX, FILE_UNDO0, FILE_UNDO1, MEDIUM_FILES };

#define MEDIUM_BYTES (256UL << 20) /* of one file, at most; untouched pages cost nothing */
#define MEDIUM_BLOCK 4096UL

enum medium_name {
	NAME_NONE, /* the directory has no such file */
	NAME_MADE,
	NAME_NEW, /* `super` under the name it has before it is complete */
};

struct medium {
	unsigned char *bytes; /* zeros behind `size` */
	unsigned char *used;  /* for each block: it has been written to, and not punched since */
	uint64_t size;
	enum medium_name name;
};

struct world {
	struct medium files[MEDIUM_FILES];
};

struct world *world_new(void);
/* What `from` holds. */
void world_copy(struct world *to, const struct world *from);
uint64_t world_used_blocks(const struct world *world, enum medium_file file);

/* All of these are journalled while `world` is the one that journal_start() named. */
void world_write(struct world *world, enum medium_file file, uint64_t offset, const void *bytes, uint64_t length);
void world_zero(struct world *world, enum medium_file file, uint64_t offset, uint64_t length);
void world_resize(struct world *world, enum medium_file file, uint64_t size);
void world_name(struct world *world, enum medium_file file, enum medium_name name);

void journal_start(struct world *world);
size_t journal_mark(void);
/* Takes back what was done since. */
void journal_revert(size_t mark);
/* What was done is for good. */
void journal_forget(void);

/* Ends the test with a message. */
__attribute__((noreturn, format(printf, 1, 2))) void give_up(const char *format, ...);
/* malloc() and realloc() that end the test when there is no memory. */
void *must_have(void *block, size_t bytes);

#endif
