/*
 * What the end-to-end programs share: starting and killing protected processes, asking a store
 * how far it is, and saying where a process hangs.
 *
 * Every process started here is a descendant of the caller, orphans included (the caller is a
 * child subreaper), so that harness_kill_descendants() leaves nothing behind.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* Makes the caller adopt orphans and finds the build directory: $RESPCT_BUILD, or the parent of
 * the directory of the running program. */
void harness_begin(void);

/* Called before the program ends through harness_die() or an interrupt; NULL: nothing. */
extern void (*harness_at_death)(void);

/* Formats into a buffer of its own; never freed, as these programs are short. */
char *harness_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* BUILD/name, as harness_format(). */
char *harness_build_path(const char *name);

/* The directory $RESPCT_FAILED/name (BUILD/tests/failed/name); the parent is made, it itself is not. */
char *harness_failed_directory(const char *name);

/* One program to start. Descriptors are -1 for "as the caller's"; strings NULL likewise. */
struct launch {
	char *const *arguments; /* arguments[0] is the path, searched in PATH */
	const char *directory;  /* current directory */
	int input, output, error;
	long user;              /* user and group id to run as, -1: unchanged */
	bool verify;            /* RESPCT_VERIFY=1 in its environment */
};

/* Starts it; dies with a message when the fork fails. Exec failure ends the child with 127. */
pid_t harness_start(const struct launch *launch);

/* Starts it, waits, and returns its wait status. */
int harness_run(const struct launch *launch);

/* Runs it and collects what it writes on stdout in `text` (terminated, cut at `size`); the wait status. */
int harness_run_and_read(const struct launch *launch, char *text, size_t size);

/* What `respct stat` says of a store. */
struct store_view {
	char state[16]; /* "running", "ended", "empty"; "" when the store cannot be read */
	uint64_t epoch, pages, bytes, checkpoints;
	int64_t commit_time_ns;
};

/* Reads it; false when there is no readable store. `user` as in struct launch. */
bool harness_store_view(const char *store, long user, struct store_view *view);

/* The pid in STORE/pid when it is a live descendant of the caller, else 0. */
pid_t harness_store_pid(const char *store);

/* Waits for `child` to change to dead until the deadline (harness_now_ns() time), forwarding what
 * arrives on `error_pipe` (-1: none) to `log`. True with *status set when it died. */
bool harness_wait(pid_t child, int64_t deadline_ns, int error_pipe, FILE *log, int *status);

/* Copies what can be read from `error_pipe` without blocking to `log`. */
void harness_drain(int error_pipe, FILE *log);

/* Writes where every thread of every descendant is: stat, wchan, syscall, and gdb's backtraces. */
void harness_report_threads(FILE *log);

/* Kills and reaps every descendant. */
void harness_kill_descendants(void);

/* "exit status 3" or "killed by signal 9 (Killed)", in a static buffer. */
const char *harness_status_text(int status);

int64_t harness_now_ns(void); /* CLOCK_MONOTONIC */

/* Reproducible pseudo-random numbers (splitmix64). */
uint64_t harness_random(uint64_t *state);

/* Runs `rm -rf path`, `cp -a from to`. */
void harness_remove(const char *path);
void harness_copy(const char *from, const char *to);

void harness_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
