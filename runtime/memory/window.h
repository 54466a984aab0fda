/*
 * Placement: the program's anonymous memory goes to a fixed window of addresses, in few large
 * mappings, apart from libraries and stacks. Any thread, any time, before the runtime starts too.
 */
#ifndef RT_WINDOW_H
#define RT_WINDOW_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum rt_window_part { RT_WINDOW_HEAP, RT_WINDOW_MAPS, RT_WINDOW_STACKS };

/* Like mmap() of anonymous memory with no address asked for. MAP_FAILED and errno on failure. */
void *rt_window_map(enum rt_window_part which, size_t length, int prot, int flags);

/* Memory was mapped that the program does not know yet: tracked from now on. errno is kept. */
void rt_new_mapping(const void *start, size_t length);

/* Memory was moved there with its contents, and no stop may fall between the move and this call: it is made between
 * rt_block_stops() and rt_unblock_stops(), which takes the result of the first. errno is kept. */
void rt_moved_mapping(const void *start, size_t length);
uint64_t rt_block_stops(void);
void rt_unblock_stops(uint64_t mask);

#endif
