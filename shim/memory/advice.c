/* What is asked for memory beyond its contents: the runtime is told that it has changed. */
#include <errno.h>
#include <sys/mman.h>

#include "base/message.h"
#include "memory/advice.h"
#include "root.h"
#include "shim/next.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

static bool lasts(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK: return true;
	default: return false;
	}
}

static int tell(int result)
{
	rt_advice_changed();
	return result;
}

static bool discards(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED;
}

SHIM_EXPORT int madvise(void *start, size_t length, int advice)
{
	/* A stop may come before the call or after it. */
	if (discards(advice))
		rt_memory_discarded();
	int result = SHIM_NEXT(madvise)(start, length, advice);
	if (discards(advice))
		rt_memory_discarded();
	return lasts(advice) ? tell(result) : result;
}

SHIM_EXPORT int mlock(const void *start, size_t length)
{
	return tell(SHIM_NEXT(mlock)(start, length));
}

SHIM_EXPORT int mlock2(const void *start, size_t length, unsigned int flags)
{
	return tell(SHIM_NEXT(mlock2)(start, length, flags));
}

SHIM_EXPORT int munlock(const void *start, size_t length)
{
	return tell(SHIM_NEXT(munlock)(start, length));
}

SHIM_EXPORT int mlockall(int flags)
{
	int result = SHIM_NEXT(mlockall)(flags);
	if (result == 0)
		rt_advice_lock_future(flags & MCL_FUTURE ? flags & (MCL_FUTURE | MCL_ONFAULT) : 0);
	return result;
}

SHIM_EXPORT int munlockall(void)
{
	int result = SHIM_NEXT(munlockall)();
	if (result == 0)
		rt_advice_lock_future(0);
	return result;
}

/* A mapping's key is not to be seen from outside, and the kernel knows of no way to choose a key. */
SHIM_EXPORT int pkey_alloc(unsigned int flags, unsigned int rights)
{
	static bool told;
	int key = SHIM_NEXT(pkey_alloc)(flags, rights), saved = errno;
	if (key >= 0 && !told && rt_is_protected()) {
		told = true;
		rt_say("memory protection keys are not restored: after a restore all memory has key 0");
	}
	errno = saved;
	return key;
}
