/* The working directory. */
#ifndef RESTORE_DIRECTORY_H
#define RESTORE_DIRECTORY_H

#include "restore/image.h"

/* Goes where the program was, to a directory without a name if it was in one. */
void enter_directory(const struct image *image);

#endif
