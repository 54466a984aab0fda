/*
 * The one way the runtime talks to the user: a single line on stderr, "respct: ...".
 *
 * Safe in any context (raw write, buffer on the caller's stack). When the program has closed
 * or reused descriptor 2, the line goes wherever descriptor 2 leads, as libc's own would.
 */
#ifndef RT_MESSAGE_H
#define RT_MESSAGE_H

#include <stddef.h>

/* Formats like printf, with %s %d %u %ld %lu %x %lx %c %% and nothing else. Always terminates
 * `buffer`; returns the length written, without the terminator. */
size_t rt_format(char *buffer, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Writes "respct: " + the formatted text + newline to stderr. */
void rt_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* rt_say(), then ends the process at once with exit status 125. */
void rt_refuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The name of an errno value ("ENOSPC: no space left on device"); never NULL. */
const char *rt_error_text(int error);

#endif
