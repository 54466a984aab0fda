/*
 * A lock for program threads that costs no system call while nobody waits. Raw system calls only. Whoever may be
 * interrupted by a signal handler that wants it, too, blocks signals first.
 *
 * After "Futexes Are Tricky" (Drepper, 2011), mutex 2.
 */
#ifndef RT_LOCK_H
#define RT_LOCK_H

#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sys.h"

enum { RT_LOCK_FREE, RT_LOCK_HELD, RT_LOCK_WAITED_FOR };

static inline void rt_lock(uint32_t *lock)
{
	uint32_t state = RT_LOCK_FREE;
	if (__atomic_compare_exchange_n(lock, &state, RT_LOCK_HELD, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	while (__atomic_exchange_n(lock, RT_LOCK_WAITED_FOR, __ATOMIC_ACQUIRE) != RT_LOCK_FREE)
		rt_syscall(SYS_futex, lock, FUTEX_WAIT_PRIVATE, RT_LOCK_WAITED_FOR, NULL, NULL, 0);
}

static inline void rt_unlock(uint32_t *lock)
{
	if (__atomic_exchange_n(lock, RT_LOCK_FREE, __ATOMIC_RELEASE) == RT_LOCK_WAITED_FOR)
		rt_syscall(SYS_futex, lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
