/* Bringing files back to what they were at the checkpoint. */
#ifndef RESTORE_UNDO_H
#define RESTORE_UNDO_H

#include "restore/image.h"

/*
 * Applies the records of the undo log that lie after the checkpoint, the last one first. Done again
 * after a crash it comes to the same. Refuses when something stands in the way that the user can
 * remove; reports, in one line each, what cannot be undone any more.
 */
void undo_changes(const struct image *image, const char *directory, int lowest_fd);

/* Whether it would change files in memory, which it does not while others have them mapped: see others.h. Changes
 * nothing, and says nothing. */
bool undo_has_files_in_memory(const struct image *image, const char *directory);

#endif
