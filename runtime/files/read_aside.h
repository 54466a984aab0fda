/* Reading a file without a descriptor in the program's table. Any thread, one at a time for each stack. */
#ifndef RT_FILES_READ_ASIDE_H
#define RT_FILES_READ_ASIDE_H

#include <stdint.h>

#define RT_READ_ASIDE_STACK (32 * 1024)

struct rt_reading {
	int directory; /* `path` is relative to it; without a path: a descriptor of the file, also of one that cannot be read */
	const char *path; /* or NULL */
	char *link;       /* PATH_MAX bytes for where the path leads, or NULL */
	int64_t link_length;
	char *data; /* `capacity` bytes for what is at `offset` */
	uint64_t offset, capacity;
	int64_t result; /* bytes read, or -errno */
};

/* `stack`: RT_READ_ASIDE_STACK bytes of the runtime's memory. */
void rt_read_aside(char *stack, struct rt_reading *reading);

/* The same with a descriptor that can be read: bytes read, fewer at the file's end, or -errno. */
int64_t rt_read_at(int fd, char *data, uint64_t offset, uint64_t length);

#endif
