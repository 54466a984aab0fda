/* The backtrace of a crash, from its record and the files that were mapped. */
#ifndef RESPCT_BACKTRACE_H
#define RESPCT_BACKTRACE_H

#include "common/crash_record.h"

/* Prints one line for each frame, the innermost first. */
void print_backtrace(const struct crash_record *record);

#endif
