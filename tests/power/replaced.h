/* What stands in for some functions of the runtime; the linker puts it in place (--wrap). */
#ifndef TEST_POWER_REPLACED_H
#define TEST_POWER_REPLACED_H

#include <stddef.h>
#include <stdint.h>

extern uint64_t test_random_state; /* rt_store_random() goes on from here */

/* A structure with so many bytes before its checksum is not checked; 0: all are. */
extern size_t test_skipped_checksum;

/* Blocks of rt_memory_map() that have not been given back. */
extern uint64_t test_memory_blocks;

#endif
