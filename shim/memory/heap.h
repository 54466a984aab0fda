/* What the allocator calls in place of libc's functions; see jemalloc.symbols. */
#ifndef SHIM_HEAP_H
#define SHIM_HEAP_H

#include <pthread.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

/* mmap() into the heap's part of the window. */
void *shim_heap_mmap(void *address, size_t length, int prot, int flags, int fd, off_t offset);

/* Its locks are not restart points: a thread is never parked inside malloc() on purpose. */
int shim_heap_lock(pthread_mutex_t *lock);
int shim_heap_trylock(pthread_mutex_t *lock);
int shim_heap_unlock(pthread_mutex_t *lock);

/*
 * clock_gettime(), and pthread_cond_init() without attributes: the allocator needs them for its own start, and what another
 * library has in their place (libfaketime) may allocate. What else such a library replaces is called when the allocator
 * works: by its background thread, whose waits and gettimeofday() must agree about the time, and for profiles.
 */
int shim_heap_clock(clockid_t clock, struct timespec *now);
int shim_heap_condition(pthread_cond_t *condition, const pthread_condattr_t *attributes);

#endif
