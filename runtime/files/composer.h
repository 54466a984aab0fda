/*
 * Composing a record at the end of the undo log.
 *
 * Paths and data go straight into the log, which may be cut short meanwhile: what is there reads as zeros then. So
 * nothing is read back that leads anywhere: the record's own copy is in the composer, and is put in front of the rest at
 * the end. After an error every further step does nothing, and rt_compose_end() returns it.
 *
 * Under the lock of the undo log. Raw system calls only.
 */
#ifndef RT_FILES_COMPOSER_H
#define RT_FILES_COMPOSER_H

#include <sys/stat.h>

#include "store/undo_log.h"

struct undo_composer {
	struct undo_log *log;
	char *place; /* in the log */
	struct undo_record record;
	size_t used; /* bytes of header and paths */
	int error;   /* 0 or -errno */
};

/* A record about the file with this status; NULL: about none. */
struct undo_composer rt_compose(struct undo_log *log, enum undo_kind kind, const struct stat *status);

/* Where the next string goes; PATH_MAX bytes are there. */
char *rt_compose_place(const struct undo_composer *composer);

/* The string of `length` bytes (or -errno) that was put there: a path, or the target when there is a path already. */
void rt_compose_take(struct undo_composer *composer, long length);

/* The first string. */
char *rt_composed_name(const struct undo_composer *composer);

/* The path of an open file. */
void rt_compose_fd_path(struct undo_composer *composer, int fd);

/* The path made absolute; the inode of its directory goes to *parent. */
void rt_compose_path(struct undo_composer *composer, int directory, const char *path, uint64_t *parent);

/* Another name of the file whose name is in the record, where one is known. */
void rt_compose_other_name(struct undo_composer *composer, const struct stat *status);

/* Room for `bytes` of data behind the strings; NULL: there is none. */
char *rt_compose_data(struct undo_composer *composer, uint64_t bytes);

/* Seals and appends. 0, or why it could not be. */
int rt_compose_end(struct undo_composer *composer);

/* The path made absolute at `place`, PATH_MAX bytes. Its length or -errno. */
long rt_make_absolute(char *place, int directory, const char *path);

/* The inode of the directory that holds the last component of the path at `place`, 0 when it cannot be had. */
uint64_t rt_parent_of(char *place, size_t length);

#endif
