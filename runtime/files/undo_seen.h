/*
 * Which files the undo log has met since the last stop: a fixed table. What finds no room takes the place of another
 * file, which is logged once more when it is met again.
 *
 * Under the lock of the undo log, or in the stop.
 */
#ifndef RT_FILES_UNDO_SEEN_H
#define RT_FILES_UNDO_SEEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define RT_SEEN_FILES 4096 /* a power of two */

struct rt_seen {
	uint64_t device, inode;
	uint32_t interval;
	bool named;   /* the log has its UNDO_FILE */
	bool created; /* it did not exist at the stop: its contents need not be saved */
};

struct rt_seen_files {
	uint32_t interval; /* counts the stops, from 1 on: entries of others are free */
	struct rt_seen entries[RT_SEEN_FILES];
};

/* The entry of the file with this status: a new one, neither named nor created, where it was not met yet. Valid until
 * the next call. */
struct rt_seen *rt_seen_look_up(struct rt_seen_files *files, const struct stat *status);

/* A directory has another name: so have all files in it. */
void rt_seen_forget_names(struct rt_seen_files *files);

/* At a stop: no file has been met yet. */
void rt_seen_start_over(struct rt_seen_files *files);

#endif
