/*
 * What the fuzz targets share. Each fuzz_NAME.c is a target of libFuzzer, and with replay.c a plain program
 * that tries files, one after the other.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t limit, unsigned int seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
				 uint8_t *out, size_t limit, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t limit);

/* Opens the sandbox; ends the process with 77 when it cannot be had. Returns 0. */
int fuzz_need_sandbox(void);

/* ---- mutate.c: inputs that are sequences of records ---- */

struct fuzz_format {
	/* Bytes of the record at `data`, at most `size`; 0: there is none. */
	size_t (*length)(const uint8_t *data, size_t size);
	/* Makes the record at `data` say that it has `length` bytes. */
	void (*set_length)(uint8_t *data, size_t length);
	size_t head;  /* least bytes of a record */
	size_t align; /* a record has a multiple of these */
};

extern const struct fuzz_format fuzz_manifest_format, fuzz_section_format, fuzz_undo_format;

size_t fuzz_mutate_records(const struct fuzz_format *format, uint8_t *data, size_t size, size_t limit, unsigned seed);
size_t fuzz_cross_records(const struct fuzz_format *format, const uint8_t *first, size_t first_size,
			  const uint8_t *second, size_t second_size, uint8_t *out, size_t limit, unsigned seed);

/* A number from `state`, which goes on. */
uint64_t fuzz_random(uint64_t *state);

#endif
