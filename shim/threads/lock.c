/*
 * Locks: the release of a thread's outermost lock is a restart point.
 *
 * The count of locks held is a hint that keeps threads from being parked while they hold a lock
 * that others need to get to their own restart point; it need not be right (a lock may be
 * released by another thread than took it), since stragglers are captured anyway.
 */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "shim/memory/heap.h"
#include "shim/next.h"
#include "threads/thread.h"

static inline int locked(int result)
{
	if (__builtin_expect(result == 0, 1))
		rt_local.lock_depth++;
	return result;
}

static inline int unlocked(int result)
{
	if (rt_local.lock_depth > 0)
		rt_local.lock_depth--;
	if (rt_local.lock_depth == 0)
		rt_restart_point();
	return result;
}

#define LOCK(name, type)                              \
	SHIM_EXPORT int name(type *lock)              \
	{                                             \
		return locked(SHIM_NEXT(name)(lock)); \
	}

#define TIMED_LOCK(name, type)                                                              \
	SHIM_EXPORT int name(type *restrict lock, const struct timespec *restrict deadline) \
	{                                                                                   \
		return locked(SHIM_NEXT(name)(lock, deadline));                             \
	}

#define CLOCK_LOCK(name, type)                                                                               \
	SHIM_EXPORT int name(type *restrict lock, clockid_t clock, const struct timespec *restrict deadline) \
	{                                                                                                    \
		return locked(SHIM_NEXT(name)(lock, clock, deadline));                                       \
	}

#define UNLOCK(name, type)                              \
	SHIM_EXPORT int name(type *lock)                \
	{                                               \
		return unlocked(SHIM_NEXT(name)(lock)); \
	}

/* EOWNERDEAD means: locked, too. */
static inline int locked_robust(int result)
{
	if (result == EOWNERDEAD)
		rt_local.lock_depth++;
	return locked(result);
}

#define LOCK_ROBUST(name)                                    \
	SHIM_EXPORT int name(pthread_mutex_t *lock)          \
	{                                                    \
		return locked_robust(SHIM_NEXT(name)(lock)); \
	}

LOCK_ROBUST(pthread_mutex_lock)
LOCK_ROBUST(pthread_mutex_trylock)
TIMED_LOCK(pthread_mutex_timedlock, pthread_mutex_t)
CLOCK_LOCK(pthread_mutex_clocklock, pthread_mutex_t)
UNLOCK(pthread_mutex_unlock, pthread_mutex_t)

LOCK(pthread_rwlock_rdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_wrlock, pthread_rwlock_t)
LOCK(pthread_rwlock_tryrdlock, pthread_rwlock_t)
LOCK(pthread_rwlock_trywrlock, pthread_rwlock_t)
TIMED_LOCK(pthread_rwlock_timedrdlock, pthread_rwlock_t)
TIMED_LOCK(pthread_rwlock_timedwrlock, pthread_rwlock_t)
CLOCK_LOCK(pthread_rwlock_clockrdlock, pthread_rwlock_t)
CLOCK_LOCK(pthread_rwlock_clockwrlock, pthread_rwlock_t)
UNLOCK(pthread_rwlock_unlock, pthread_rwlock_t)

LOCK(pthread_spin_lock, volatile pthread_spinlock_t)
LOCK(pthread_spin_trylock, volatile pthread_spinlock_t)
UNLOCK(pthread_spin_unlock, volatile pthread_spinlock_t)

int shim_heap_lock(pthread_mutex_t *lock)
{
	return SHIM_NEXT(pthread_mutex_lock)(lock);
}

int shim_heap_trylock(pthread_mutex_t *lock)
{
	return SHIM_NEXT(pthread_mutex_trylock)(lock);
}

int shim_heap_unlock(pthread_mutex_t *lock)
{
	return SHIM_NEXT(pthread_mutex_unlock)(lock);
}
