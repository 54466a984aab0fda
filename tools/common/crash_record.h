/* The record of a crash in a store, as runtime/life/crash.h describes it; every length in it is checked. */
#ifndef TOOLS_CRASH_RECORD_H
#define TOOLS_CRASH_RECORD_H

#include <elf.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/procfs.h>

#include "life/crash.h"

/* Part of a file that was mapped. */
struct crash_file {
	uint64_t start, end;
	uint64_t offset; /* in the file, bytes */
	const char *path;
};

struct crash_record {
	struct crash_note note;
	siginfo_t info;
	int thread;
	elf_gregset_t registers;
	struct crash_file *files; /* ascending */
	size_t file_count;
	const uint8_t *stack; /* what lay at [stack_start, stack_start + stack_length) */
	uint64_t stack_start, stack_length;
	uint8_t *bytes; /* the file */
	size_t length;
};

/* Reads the record in the store `directory`. Returns whether there is one; a damaged one is none, and
 * said in one line. */
bool crash_read(const char *directory, struct crash_record *record);
void crash_free(struct crash_record *record);

/* "SIGSEGV at 0x10 (address not mapped) in thread 4711 "worker"" */
void crash_describe(const struct crash_record *record, char *text, size_t size);

/* The file mapped at `address`, or NULL. */
const struct crash_file *crash_file_at(const struct crash_record *record, uint64_t address);

#endif
