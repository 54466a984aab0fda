/*
 * The one way the runtime talks to the user: a single line on stderr, "respct: ...".
 *
 * Safe in any context (raw write, buffer on the caller's stack). When the program has put something
 * else on descriptor 2 (a daemon may have a socket or a database there), nothing is written.
 */
#ifndef RT_MESSAGE_H
#define RT_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

/* Formats like printf, with %s %d %u %ld %lu %x %lx %c %% and nothing else. Always terminates
 * `buffer`; returns the length written, without the terminator. */
size_t rt_format(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Descriptor 2 as it is now is stderr: before the program begins. */
void rt_message_begin(void);

/* So is this file, in the restored process: what respct-restore had there. */
void rt_message_accept(uint64_t device, uint64_t inode);

/* Writes "respct: " + the formatted text + newline to stderr, if that is what descriptor 2 is. Without
 * rt_message_begin() it is. */
void rt_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* rt_say(), then ends the process at once with exit status 125. */
void rt_refuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The name of an errno value ("ENOSPC: no space left on device"); never NULL. */
const char *rt_error_text(int error);

#endif
