/* Keeping the straggler signal out of the program's signal sets. */
#ifndef SHIM_MASK_H
#define SHIM_MASK_H

#include <signal.h>
#include <stddef.h>

#include "root.h"

/* `set` itself, or a copy of it in *copy without our signal. */
static inline const sigset_t *shim_mask_without_ours(const sigset_t *set, sigset_t *copy)
{
	if (set == NULL || rt_root.signal == 0 || sigismember(set, rt_root.signal) != 1)
		return set;
	*copy = *set;
	sigdelset(copy, rt_root.signal);
	return copy;
}

#endif
