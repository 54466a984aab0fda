/*
 * Calling on: how a wrapper reaches the function it stands in front of.
 *
 * Rules of the shim: a wrapper is a few lines that call on and tell the runtime; it takes no
 * decisions, keeps errno as the real function left it, and works before the constructor has run
 * (the loader and other libraries call in early).
 */
#ifndef SHIM_NEXT_H
#define SHIM_NEXT_H

#include <dlfcn.h>

#define SHIM_EXPORT __attribute__((visibility("default")))

/* The next definition of `name` after ours, looked up once. */
static inline void *shim_next(void **cache, const char *name)
{
	void *function = __atomic_load_n(cache, __ATOMIC_RELAXED);
	if (__builtin_expect(function == (void *)0, 0)) {
		function = dlsym(RTLD_NEXT, name);
		__atomic_store_n(cache, function, __ATOMIC_RELAXED);
	}
	return function;
}

#define SHIM_NEXT(name)                                                    \
	({                                                                 \
		static void *shim_cache_##name;                            \
		(__typeof__(&(name)))shim_next(&shim_cache_##name, #name); \
	})

#endif
