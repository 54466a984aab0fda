/*
 * The runtime's own memory: whole pages in the runtime area, outside the image.
 *
 * Only the checkpoint thread, or the one thread that starts the runtime, may call these. They
 * never block and never call libc; usable while threads are parked.
 */
#ifndef RT_MEMORY_H
#define RT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Zeroed memory, `bytes` rounded up to whole pages; NULL when the kernel refuses. */
void *rt_memory_map(size_t bytes);

/* The same at RT_ENGINE_BASE: for the engine alone, once in the life of a process. */
void *rt_memory_map_engine(size_t bytes);

/* Grows a block of rt_memory_map() to `new_bytes`, keeping its contents; it may move.
 * Without a block it maps one. NULL when the kernel refuses: the old block then stays valid. */
void *rt_memory_grow(void *block, size_t old_bytes, size_t new_bytes);

/* A shared mapping of [offset, offset + bytes) of `fd`. `flags` is added to MAP_SHARED
 * unless it has a type of its own. Returns NULL and sets *error to -errno on failure. */
void *rt_memory_map_file(int fd, size_t bytes, off_t offset, int prot, int flags, int *error);

void rt_memory_unmap(void *block, size_t bytes);

/* Bytes of address space that the runtime has mapped. Any thread. */
size_t rt_memory_used(void);

/* Whether the process has a limit of its memory (ulimit -v, ulimit -d). Any thread. */
bool rt_memory_is_limited(void);

#endif
