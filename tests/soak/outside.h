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

void outside_look(struct outside *outside);

/* What is there after and was not before, in words, `own` and what is in it left out; NULL: nothing. What is
 * about to go (processes ending) has some seconds for it. */
char *outside_difference(const struct outside *before, struct outside *after, const char *own);

#endif
