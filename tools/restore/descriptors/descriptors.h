/*
 * Brings the descriptors of a checkpoint back in the calling process.
 *
 * Runs in the process that is to become the program, single-threaded, with the program's
 * credentials, root and working directory (unix sockets may be bound by a relative path) and
 * while /proc is reachable.
 */
#ifndef RESTORE_DESCRIPTORS_H
#define RESTORE_DESCRIPTORS_H

#include <stddef.h>

/*
 * Re-creates every descriptor of the manifest at its number, with its flags. Descriptors
 * >= keep_from are the caller's and stay; all others that the manifest does not have are closed.
 * keep_from must be above the program's highest descriptor. The limit of open files must leave room
 * above that for as many as the program had open and a few more: they are made there first, at
 * numbers that are free, and moved. 0, 1 and 2 of the caller stand in for terminals and for pipes
 * and unix sockets to the outside.
 *
 * Everything that can fail is tried before the first file is changed. Files:
 *   missing, replaced (another inode), or not a regular file any more: refused
 *   written by the program and longer than at the checkpoint: cut back to that length
 *   written by the program and shorter: one line on stderr, goes on (a rotated or truncated log);
 *   only read by the program and shorter: refused, what it had seen of its input is no longer true
 * What could not be captured is named in one line each on stderr.
 *
 * 0, or -1 with one line in `problem` that names the file or address and says what to do; the
 * descriptors below keep_from are then as they were.
 */
int restore_descriptors(const void *manifest, size_t length, int keep_from, char *problem, size_t problem_size);

/* Only looks whether the records make sense, which restore_descriptors() would find out when files have been
 * changed already. 0, or -1 with the problem. */
int restore_check_descriptors(const void *manifest, size_t length, int keep_from, char *problem, size_t problem_size);

#endif
