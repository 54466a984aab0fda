/*
 * Processes that a command starts, watches and kills.
 *
 * After children_adopt() every process started here is a descendant of the caller, orphans included (the caller is a child
 * subreaper), so that children_kill() leaves nothing behind. What cannot be done at all (no memory, no processes)
 * ends the command through refuse(); a signal to end it ends it through exit(), so what must be cleaned up is left to
 * atexit().
 */
#ifndef TOOLS_CHILDREN_H
#define TOOLS_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* One program to start. Descriptors are -1 for "as the caller's"; strings NULL likewise. */
struct launch {
	char *const *arguments; /* arguments[0] is the path, searched in PATH */
	const char *directory;  /* current directory */
	int input, output, error;
	long user;                /* user and group id to run as, -1: unchanged */
	char *const *environment; /* NAME=VALUE to add, ending with NULL; NULL: none */
};

/* Makes the caller adopt orphans, and lets SIGINT, SIGTERM and their like end it in the next child_wait(). */
void children_adopt(void);

/* The signal that ends the caller, once it has come; else 0. */
int children_interrupted(void);

/* Starts it. Exec failure ends the child with 127. */
pid_t child_start(const struct launch *launch);

/* Starts it, waits, and returns its wait status. */
int child_run(const struct launch *launch);

/* Runs it and collects what it writes on stdout in `text` (terminated, cut at `size`); the wait status. */
int child_run_and_read(const struct launch *launch, char *text, size_t size);

/* Waits for `child` to change to dead until the deadline (now_ns() time), forwarding what
 * arrives on `error_pipe` (-1: none) to `log`. True with *status set when it died. */
bool child_wait(pid_t child, int64_t deadline_ns, int error_pipe, FILE *log, int *status);

/* Copies what can be read from `error_pipe` without blocking to `log`. */
void child_drain(int error_pipe, FILE *log);

/* Whether `pid` is a live descendant of the caller. */
bool child_is_ours(pid_t pid);

/* Kills `pid` and all its descendants, as /proc lists them now; reaps nothing. */
void child_kill_tree(pid_t pid);

/* Kills and reaps every descendant. */
void children_kill(void);

/* Writes where every thread of every descendant is: stat, wchan, syscall. Touches no process. */
void children_report_states(FILE *log);

/* The same, and gdb's backtraces where gdb is: for a process that is given up. It is stopped meanwhile, for long on a
 * busy machine, and a checkpoint then has gdb's SIGSTOP among the signals that are pending. */
void children_report_threads(FILE *log);

/* Calls `action` for each child of `pid`, as /proc lists them now. */
void children_each(pid_t pid, void (*action)(pid_t child, void *argument), void *argument);

/* "exit status 3" or "killed by signal 9 (Killed)", in a static buffer. */
const char *status_text(int status);

/* The number in DIR/pid when it is that of a live descendant of the caller, else 0. */
pid_t store_process(const char *directory);

int64_t now_ns(void); /* CLOCK_MONOTONIC */

/* Reproducible pseudo-random numbers (splitmix64). */
uint64_t random_next(uint64_t *state);

/* Formats into a buffer of its own, which stays for good, as these programs are short. */
char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs `rm -rf path`, `cp -a from to`, silently. */
void remove_tree(const char *path);
void copy_tree(const char *from, const char *to);

#endif
