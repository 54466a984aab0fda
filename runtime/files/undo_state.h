/*
 * What the parts of undo.h share: its state, and what saves how things are before a call changes them.
 *
 * All state is in the runtime's memory, under one lock, which is only held with all signals blocked: nobody is ever
 * captured holding it or waiting for it. What takes a `struct rt_undo` is called with the
 * lock held.
 *
 * What saves returns 0: the section stays open, as it must before any call that changes a name or overwrites something,
 * also where there is nothing to save: a stop is often asked for within a section, and comes where it ends. A thread
 * captured between there and its call would make the call unsaved, and again after a restore.
 *
 * -ENOENT: the call may wait, or changes nothing but what comes behind the end of a file. Else: it could not be saved.
 */
#ifndef RT_FILES_UNDO_STATE_H
#define RT_FILES_UNDO_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/lock.h"
#include "manifest.h"
#include "store/undo_log.h"
#include "undo.h"
#include "undo_seen.h"

struct rt_undo {
	uint32_t lock; /* rt_lock() */
	bool active;   /* there is a state to come back to */
	bool asked;    /* for a checkpoint, since the last stop */
	bool told;     /* that a change cannot be undone */
	struct undo_log log;
	struct manifest_undo captured;
	char *aside_stack; /* of rt_read_aside() */
	struct rt_seen_files seen;
};

/* ---- contents ---- */

/* The log knows the file's name and length before anything of it is changed. */
int rt_undo_name_file(struct rt_undo *undo, int fd, const struct stat *status);

/* A regular file that has a name; -ENOENT: without one it comes back with its contents, or not at all. */
int rt_undo_stat_regular(int fd, struct stat *status);

int rt_undo_save_overwritten(struct rt_undo *undo, const struct rt_undo_request *request);
int rt_undo_save_mapped(struct rt_undo *undo, const struct rt_undo_request *request);
int rt_undo_save_cut(struct rt_undo *undo, const struct rt_undo_request *request, uint64_t start);
int rt_undo_save_cut_path(struct rt_undo *undo, const struct rt_undo_request *request);

/* Saves a file from `start` on, found by name; its name goes to the log resolved. */
int rt_undo_save_by_path(struct rt_undo *undo, const struct rt_undo_request *request, const struct stat *status,
			 uint64_t start);

/* ---- names ---- */

int rt_undo_before_open(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request);
int rt_undo_before_make(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request);
int rt_undo_before_link(struct rt_undo *undo, const struct rt_undo_request *request);
int rt_undo_before_remove(struct rt_undo *undo, const struct rt_undo_request *request);
int rt_undo_before_rename(struct rt_undo *undo, struct rt_undo_section *section, const struct rt_undo_request *request);

/* A file with several names is about to change one of them, while there is no state to come back to. */
void rt_undo_note_renamed(struct rt_undo *undo, const struct rt_undo_request *request);

#endif
