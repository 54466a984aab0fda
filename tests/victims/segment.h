/* A System V segment under a key. */
#ifndef SEGMENT_H
#define SEGMENT_H

#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <unistd.h>

/* Makes one under the first free *key: somebody who had our process number may have left one. -1: errno. */
static inline int make_segment(size_t size, key_t *key)
{
	int id;

	*key = 0x52000000 + getpid();
	while ((id = shmget(*key, size, IPC_CREAT | IPC_EXCL | 0600)) < 0 && errno == EEXIST)
		*key += 1 << 16;
	return id;
}

#endif
