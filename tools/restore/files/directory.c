/* See directory.h. */
#include "directory.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/report.h"

/* Makes a directory, goes there and removes it. */
static bool enter_and_remove(const char *path, bool made)
{
	if (!made)
		return false;
	bool entered = chdir(path) == 0;
	return rmdir(path) == 0 && entered;
}

/* Under the old name, where that is free; else beside it; else in the place for temporary files. */
static bool enter_removed(const char *name)
{
	char beside[PATH_MAX + 32], temporary[] = "/tmp/respct-XXXXXX";
	char *copy = strdup(name);
	if (copy == NULL)
		refuse("out of memory");
	snprintf(beside, sizeof(beside), "%s/.respct-XXXXXX", dirname(copy));
	free(copy);
	return enter_and_remove(name, mkdir(name, 0700) == 0) || enter_and_remove(beside, mkdtemp(beside) != NULL) ||
	       enter_and_remove(temporary, mkdtemp(temporary) != NULL);
}

void enter_directory(const struct image *image)
{
	if (image->cwd_deleted ? enter_removed(image->cwd) : chdir(image->cwd) == 0)
		return;
	report("%s: %s: the program starts in the directory it cannot name", image->cwd, strerror(errno));
}
