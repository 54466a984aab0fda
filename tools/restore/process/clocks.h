/*
 * CLOCK_MONOTONIC and CLOCK_BOOTTIME start anew when the machine does. A restored program must not see
 * them go back: it gets a time namespace in which they go on.
 */
#ifndef RESTORE_CLOCKS_H
#define RESTORE_CLOCKS_H

#include <stdbool.h>

#include "manifest.h"

/* Compares the clocks here with those of the checkpoint. */
void clocks_compare(const struct manifest_process *process);

/* Whether they are behind, and no namespace has been made yet. */
bool clocks_need_namespace(void);

/* Makes a time namespace for the children of the caller. 0 or -errno. */
int clocks_make_namespace(void);

/* One line, when it is not permitted. */
void clocks_report(int error);

#endif
