/*
 * Libraries loaded with RTLD_DEEPBIND would find libc's free() before the one that replaces it, and end the program by
 * handing it memory of the other allocator. So that flag is taken out. The real function looks at who has called it, for
 * the paths to search: the jump leaves the caller's return address as it is.
 */
#include <dlfcn.h>

#include "next.h"

#if defined(__clang__)
#define MUST_BE_A_JUMP __attribute__((musttail))
#define OPTIMIZED_TO_A_JUMP
#else
#define MUST_BE_A_JUMP
#define OPTIMIZED_TO_A_JUMP __attribute__((optimize("O2", "optimize-sibling-calls")))
#endif

OPTIMIZED_TO_A_JUMP SHIM_EXPORT void *dlopen(const char *file, int mode)
{
	MUST_BE_A_JUMP return SHIM_NEXT(dlopen)(file, mode & ~RTLD_DEEPBIND);
}
