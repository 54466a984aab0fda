/*
 * The parts of the restorer; see restorer.c. Each runs in the process that is being rebuilt, on its first thread unless
 * it says otherwise, in the order of restorer_main(), and ends the process when it cannot do its part.
 */
#ifndef FREESTANDING_H
#define FREESTANDING_H

#include "restore/restorer/plan.h"

#define SIGNAL_COUNT 64

/* What the compiler calls. */
void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memset(void *to, int value, size_t length);

/* Says in one line what could not be done, at which address (0: none), and ends the process with 125. */
__attribute__((noreturn)) void fail(const char *step, uint64_t address, long error);

/* Says something to whoever restores. */
void print(const char *text);

/* Where faults are injected: fails there when it is told to. */
void reach(struct plan *plan, enum rt_fail_point point);

/* ---- memory.c ---- */

void clear_address_space(const struct plan *plan);
void move_special(const struct plan *plan);
void map_regions(const struct plan *plan);
void finish_shared_memory(const struct plan *plan);
void load_pages(struct plan *plan);
void patch_memory(const struct plan *plan);
void protect_regions(const struct plan *plan);
void advise(const struct plan *plan);
void set_mm_map(struct plan *plan);

/* ---- signals.c ---- */

void set_signals(const struct plan *plan);
void make_signals_pending(const struct plan *plan);
void set_timers(const struct plan *plan);
void make_posix_timers(const struct plan *plan);

/* ---- credentials.c ---- */

/* Those of the calling thread. */
void take_credentials(const struct plan *plan);

#endif
