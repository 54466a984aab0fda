/*
 * Shared memory that has been made again and that descriptors may lead to: a registry, filled by
 * tools/restore/files/shared.c before the descriptors are restored.
 */
#ifndef RESTORE_DESCRIPTORS_OBJECT_H
#define RESTORE_DESCRIPTORS_OBJECT_H

#include <stdint.h>

struct shared_object {
	uint64_t device, inode; /* at the checkpoint */
	int fd;                 /* open for reading and writing; -1: it has none (System V) */
	uint32_t late_seals;    /* F_SEAL_* that would forbid mappings the program has: set after those */
};

/* Adds one; NULL when memory runs out. The pointer is valid until the next call. */
struct shared_object *restore_object_add(uint64_t device, uint64_t inode, int fd);

/* NULL when there is none. */
struct shared_object *restore_object_find(uint64_t device, uint64_t inode);

/* All of them, to go through. */
struct shared_object *restore_object_at(uint32_t index);

#endif
