/* The text of a status file of /proc; see proc(5). Raw system calls only. */
#ifndef RT_CAPTURE_STATUS_H
#define RT_CAPTURE_STATUS_H

#include <stddef.h>
#include <stdint.h>

#define RT_STATUS_BYTES (32 * 1024) /* the groups, in the middle, take most of it */

/* Reads all of it from the start, up to size - 1 bytes and a terminator. 0 or -errno. */
int rt_status_read(int fd, char *text, size_t size);

/* What follows `key` ("SigQ:") at the start of a line, blanks left out; NULL when there is no such line. */
const char *rt_status_find(const char *text, const char *key);

#endif
