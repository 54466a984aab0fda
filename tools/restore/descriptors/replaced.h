/*
 * Files that restore has made again: under the same name, but with another inode number.
 *
 * Numbers are used again, so what a number means depends on when it was written down. Each restore of a checkpoint
 * is one level: it turns the numbers before it into those after it. The undo log is read backwards, so levels
 * are entered from the last restore to the first; what is looked up always belongs to the level entered last.
 */
#ifndef RESTORE_REPLACED_H
#define RESTORE_REPLACED_H

#include <stdbool.h>
#include <stdint.h>

/* What is looked up from now on was written down before restore number `run`. 0 or -1 (out of memory). */
int restore_enter_level(uint64_t run);

/* What was `old` was made `now` by the restore of this level; by a later one if that says so, too. */
int restore_note_replaced(uint64_t old, uint64_t now);

/* What was `old` has just been made again, and is `now`. */
int restore_note_made(uint64_t old, uint64_t now);

/* Whether `found` is the file that was `recorded`. */
bool restore_is_same_inode(uint64_t recorded, uint64_t found);

#endif
