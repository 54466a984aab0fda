/* What the allocator calls in place of libc's functions; see jemalloc.symbols. */
#ifndef SHIM_HEAP_H
#define SHIM_HEAP_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>

/* mmap() into the heap's part of the window. */
void *shim_heap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);

/* Its locks are not restart points: a thread is never parked inside malloc() on purpose. */
int shim_heap_lock(pthread_mutex_t *lock);
int shim_heap_trylock(pthread_mutex_t *lock);
int shim_heap_unlock(pthread_mutex_t *lock);

#endif
