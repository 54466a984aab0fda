/*
 * Shared memory at restore: a memfd, a deleted file, a file in /dev/shm, a System V segment. Each is
 * one object, however many mappings and descriptors lead to it.
 */
#ifndef RESTORE_SHARED_H
#define RESTORE_SHARED_H

#include <stdbool.h>

#include "restore/image.h"

/* Whether it has files of which it matters who else has them mapped: see others.h. */
bool shared_has_files(const struct image *image);

/* In the tool, outside of the process's namespaces: finds out which System V segments others use. */
void shared_look_around(const struct image *image);

/* Whether System V segments must be made again, which an ordinary user can in a namespace only. */
bool shared_needs_ipc_namespace(void);

/* In the tool, once the program runs in an IPC namespace of its own, with segments made again there: removes those that
 * it had made outside and nobody uses. Others' stay: they are not for it to remove. */
void shared_remove_outside(void);

/* In the new process: makes what is gone, opens what is there. All descriptors >= lowest_fd. */
void shared_make(const struct image *image, int lowest_fd);

/* After the last refusal: files and segments that were there get the checkpoint's contents. */
void shared_put_back(const struct image *image);

/* The descriptor to map for a region that belongs to an object, -1: it does not. */
int shared_region_fd(const struct manifest_region *region);

/* Whether the region is of a System V segment. */
bool shared_region_is_segment(const struct manifest_region *region);

/* The identifier of the region's System V segment now, -1: it is none. After shared_put_back(). */
int shared_region_segment(const struct manifest_region *region, bool *remove);

#endif
