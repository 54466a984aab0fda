/*
 * The process's place in session and process group, and the terminal that goes with it.
 *
 * A process that led its session without a terminal (a daemon) leads one again. One that led its
 * process group leads one again; it is then the job in the foreground where we were, and we do for it
 * what a shell does: stop when it is stopped, and go on with it. Any other process is in our group.
 */
#ifndef RESTORE_SESSION_H
#define RESTORE_SESSION_H

#include <stdbool.h>
#include <sys/types.h>

#include "restore/image.h"

/* Finds out what it was, and keeps the terminal's modes. Before the process is made. */
void session_prepare(const struct image *image);

/* In the process, first of all: takes its place. */
void session_enter(void);

/* Whether the window of the terminal has another size than at the checkpoint. */
bool session_window_changed(const struct image *image);

/* Whether signals from our terminal reach the process without us. */
bool session_gets_signals(pid_t process);

/* The process has been stopped: stops us too, and returns when both go on. */
void session_stopped(pid_t process);

/* The process has ended, with this wait(2) status: the terminal is ours again, with its old modes when
 * the process could not set them back. */
void session_ended(int status);

#endif
