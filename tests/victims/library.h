/* Where a library is that lies beside the victim. Not /proc/self/exe: restored by an ordinary user, that is respct-restore. */
#ifndef LIBRARY_H
#define LIBRARY_H

#include <libgen.h>
#include <limits.h>
#include <sys/auxv.h>

#include "victim.h"

static inline void find_library(const char *name, char path[PATH_MAX])
{
	char self[PATH_MAX];
	const char *started_as = (const char *)getauxval(AT_EXECFN);

	CHECK(started_as != NULL && snprintf(self, sizeof(self), "%s", started_as) < (int)sizeof(self));
	CHECK(snprintf(path, PATH_MAX, "%s/%s", dirname(self), name) < PATH_MAX);
}

#endif
