/* The GNU build-id of an ELF file: tells whether a program or library is still the same one. */
#ifndef RESTORE_BUILD_ID_H
#define RESTORE_BUILD_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"

/* Whether the file has this build-id. False for an id of zeros, and for files without one. */
bool file_has_build_id(const char *path, const uint8_t id[REGION_BUILD_ID_SIZE]);

#endif
