/*
 * The second implementation of the persistence contract (runtime/store/persist.h): files are media in
 * memory, and every store, write, change of size, hole and drain is recorded with its bytes.
 *
 * What a power cut could leave at any instant is made from the recording alone; see states.h.
 */
#ifndef TEST_POWER_RECORDER_H
#define TEST_POWER_RECORDER_H

#include "medium.h"
#include "runtime/store/persist.h"

enum op_kind {
	OP_STORE,  /* bytes, in the mapping or by a write, which may make the file longer */
	OP_DIRECT, /* bytes the caller stored into the mapping and has not flushed */
	OP_RESIZE, /* to `offset` bytes */
	OP_PUNCH,
	OP_DRAIN,
	OP_NAME, /* of `file`: becomes `offset` */
	OP_DRAIN_NAMES,
	OP_BEGIN, /* the next thing recovery may find is image `offset` */
	OP_END,   /* it is what recovery must find: somebody has been told */
};

struct op {
	enum op_kind kind;
	enum medium_file file;
	uint64_t offset, length;
	size_t data; /* where its bytes are in the recording's data */
};

struct recording {
	struct op *ops;
	size_t count, capacity;
	unsigned char *data;
	size_t used, room;
};

extern struct world *recorder_world;         /* what the contract works on */
extern struct recording *recorder_recording; /* NULL: nothing is recorded */
extern bool recorder_is_pmem;                /* what rt_persist_probe_pmem() says */

void recording_clear(struct recording *recording);
/* OP_BEGIN and OP_END. */
void recorder_say(enum op_kind kind, uint64_t image);
/* The caller has stored into the mapping of `file`. */
void recorder_stored(enum medium_file file, const void *address, uint64_t length);
/* A file of the world as the contract has it. */
void recorder_open(struct persist_file *file, enum medium_file number, enum persist_kind kind);

#endif
