/*
 * What the end-to-end programs share: where the build is, and asking a store how far it is. Processes are started, watched
 * and killed by tools/common/children.h; the programs clean up in atexit().
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdarg.h>
#include <stdio.h>

#include "common/children.h"

/* children_adopt(), and finds the build directory: $RESPCT_BUILD, or the parent of
 * the directory of the running program. */
void harness_begin(void);

/* BUILD/name, as format_text(). */
char *harness_build_path(const char *name);

/* The directory $RESPCT_FAILED/name (BUILD/tests/failed/name); the parent is made, it itself is not. */
char *harness_failed_directory(const char *name);

/* Writes a line "[seconds since begin_ns] text" to a log. */
void harness_log(FILE *log, int64_t begin_ns, const char *format, va_list arguments);

/* Makes `user` the owner of a file; a negative one leaves it. */
void harness_give(const char *path, long user);

#define MEMCACHED_ARGUMENTS 15

/* The command line of memcached, which listens at `port` of 127.0.0.1 and, run by root as root, is to become another
 * user itself. It ends with NULL, too. */
void harness_memcached(char *arguments[MEMCACHED_ARGUMENTS], char *port, long user);

/* What `respct stat` says of a store. */
struct store_view {
	char state[16]; /* "running", "ended", "empty"; "" when the store cannot be read */
	uint64_t epoch, pages, bytes, checkpoints;
	int64_t commit_time_ns;
};

/* Reads it; false when there is no readable store. `user` as in struct launch. */
bool harness_store_view(const char *store, long user, struct store_view *view);

#endif
