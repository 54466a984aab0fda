/* Private to undo.c and removed.c: how far the undo log has been applied. */
#ifndef RESTORE_FILES_UNDOING_H
#define RESTORE_FILES_UNDOING_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "restore/files/undo.h"
#include "store/undo_log.h"

#define NO_RECORD SIZE_MAX
#define NS_PER_S 1000000000L

struct logged {
	const struct undo_record *record;
	uint64_t generation, offset; /* where it stands */
};

struct undoing {
	struct undo_log log;
	struct logged *records;
	size_t count, capacity;
	uint64_t run;    /* which restore this is, from 1 */
	bool renamed;    /* a name has been changed since the last UNDO_UNDONE */
	size_t *file_of; /* by record: the UNDO_FILE of an UNDO_BYTES, or NO_RECORD */
	bool *changed;   /* by record: UNDO_FILE whose file has been written to */
	bool durable;
	char temporary[40]; /* what a removed file is called until it is whole: no other restore's */
	/* The file written last. */
	int fd;
	size_t fd_file;
};

/* A name in a directory that has been checked. */
struct place {
	int directory; /* O_PATH; -1: it is gone */
	char name[NAME_MAX + 1];
};

static inline struct timespec undo_to_timespec(int64_t ns)
{
	return (struct timespec){ns / NS_PER_S, ns % NS_PER_S};
}

/* Writes all; refuses, naming `path`. */
void undo_write_all(int fd, const uint8_t *bytes, uint64_t length, uint64_t offset, const char *path);

/* The place of `path`, provided its directory is the one it was. */
struct place undo_open_place(const char *path, uint64_t parent);
void undo_close_place(const struct place *place);

/* Whether something is there; *status says what. */
bool undo_look_at(const struct place *place, struct stat *status);

/* Appends a record without paths and data. 0 or -errno. */
int undo_note(struct undoing *undoing, const struct undo_record *contents);

/* ---- removed.c ---- */

/* Puts the file of an UNDO_REMOVED back. Refuses where another program has put something in its place. */
void undo_removed(struct undoing *undoing, const struct undo_record *record);

#endif
