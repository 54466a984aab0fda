/* The build-id of an ELF file: a hash of its contents that the linker has put into it as a note. */
#ifndef RT_BUILD_ID_H
#define RT_BUILD_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest.h"

/*
 * The contents of the first note of this type and name (4 bytes, the last one 0), and how many bytes they are. NULL:
 * there is none.
 */
const uint8_t *rt_find_note(const uint8_t *notes, size_t length, uint32_t type, const char name[4], size_t *found);

/* The build-id among these notes. False: there is none of the usual size. */
bool rt_build_id_in_notes(const uint8_t *notes, size_t length, uint8_t id[REGION_BUILD_ID_SIZE]);

/*
 * That of the file whose beginning is mapped in [start, end), which a running program may unmap meanwhile. Takes no
 * descriptor. False: there is none, or it cannot be read. Checkpoint thread, or while the runtime starts.
 */
bool rt_build_id_of_mapping(uint64_t start, uint64_t end, uint8_t id[REGION_BUILD_ID_SIZE]);

#endif
