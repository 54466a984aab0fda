/* What processes may leave behind in the system: processes, temporary files, mounts, System V segments. */
#ifndef SOAK_OUTSIDE_H
#define SOAK_OUTSIDE_H

#include <stdbool.h>

#define OUTSIDE_NAMES 4096

struct outside {
	int mounts, segments; /* segments that nobody has attached */
	int names;            /* respct's temporary files and directories */
	char *name[OUTSIDE_NAMES];
};

/* Where that is permitted, what others mount and which segments they have is from now on not seen. */
void outside_keep_apart(void);

/* `directory` is looked into, too. */
void outside_look(const char *directory, struct outside *outside);

/* What is there now and was not before, in words; NULL: nothing. What is about to go (processes ending) has
 * some seconds for it. */
char *outside_difference(const char *directory, const struct outside *before);

#endif
