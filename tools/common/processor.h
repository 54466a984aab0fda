/* The processor's features by name: what a restore needs, and what is shown. */
#ifndef TOOLS_PROCESSOR_H
#define TOOLS_PROCESSOR_H

#include <stddef.h>

#include "manifest.h"

/*
 * Names what `now` lacks of what a program may use that began on `then`, separated by blanks; names
 * that do not fit are left out. Returns how many there are. With `now` NULL: all that `then` has.
 */
int processor_missing(const struct manifest_processor *then, const struct manifest_processor *now, char *names,
		      size_t size);

/* Takes a feature away, for tests. False when there is no such name. */
bool processor_remove(struct manifest_processor *processor, const char *name);

#endif
