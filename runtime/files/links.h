/*
 * Names of files that have several: when one of them is removed, restore can make it again from another.
 *
 * The names that link() and rename() made last are kept, in memory of the image: a restored process knows
 * them, too. Under the lock of the undo log.
 */
#ifndef RT_LINKS_H
#define RT_LINKS_H

#include <stdint.h>

/* `path` (absolute) is a name of the file. One that is too long is not kept. */
void rt_links_note(uint64_t device, uint64_t inode, const char *path);

/* A name of the file that still leads to it and is not `except`; NULL when none is known. */
const char *rt_links_other(uint64_t device, uint64_t inode, const char *except);

#endif
