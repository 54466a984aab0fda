/*
 * Descriptors: what the checkpoint records of each, and how the records look.
 *
 * The truth is the walk over /proc/self/fd at the checkpoint, not a record of calls. What is
 * slow (links, fdinfo, options) is gathered before the threads are parked; while they are
 * parked each descriptor is validated (fstat, F_GETFL, F_GETFD) and what changes with use is
 * read: offsets, lengths, unread contents, counters, interest lists.
 */
#ifndef RT_DESCRIPTOR_H
#define RT_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"

/* Capture; checkpoint thread only. The table lives in runtime memory. `fd_dir` is an open
 * descriptor of /proc/self/fd, `fdinfo_dir` of /proc/self/fdinfo (both stay readable after the
 * program changes its user). `hidden(fd)` tells the runtime's own descriptors, which are left out. */
struct descriptor_table;

struct descriptor_table *rt_descriptors_open(int fd_dir, int fdinfo_dir, bool (*hidden)(int fd));

/* Before the stop: brings the table up to date with what is open now. */
int rt_descriptors_prepare(struct descriptor_table *table);

/* In the stop: adds one MANIFEST_DESCRIPTOR record per open descriptor, ascending. What cannot
 * be restored is recorded as DESCRIPTOR_LOST and named once on stderr (after the resume). */
int rt_descriptors_capture(struct descriptor_table *table, struct manifest_writer *writer);

/* After the resume: says what the last capture found and could not protect, each thing once. */
void rt_descriptors_report(struct descriptor_table *table);

/* socketpair() and listen() tell the runtime what the kernel does not tell later. Called by the
 * shim on program threads; lock-free, safe at any time. Inode numbers as in fstat(). */
void rt_descriptors_note_pair(uint64_t inode_a, uint64_t inode_b);

#endif
