/*
 * What a protected process and its store occupy at one instant, and whether that has grown.
 *
 * Sizes are KiB. A sample is taken from outside, through /proc and stat(2), and disturbs nothing.
 */
#ifndef SOAK_MEASURE_H
#define SOAK_MEASURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum measure {
	IMAGE_RSS, /* the program's own memory */
	IMAGE_PSS,
	IMAGE_MAPPINGS, /* how many */
	AREA_ANONYMOUS, /* resident memory of the runtime that is in no file */
	AREA_MAPPED,    /* addresses the runtime uses, store included */
	AREA_MAPPINGS,
	DESCRIPTORS, /* all that are open, the runtime's own included */
	THREADS,     /* the checkpoint thread included */
	ZOMBIES,     /* dead descendants of ours that nobody has waited for */
	LOG_SIZE,    /* the store: apparent size and what is allocated */
	LOG_ALLOCATED,
	HOME_SIZE,
	HOME_ALLOCATED,
	INDEX_SIZE,
	INDEX_ALLOCATED,
	UNDO_SIZE, /* all its files */
	UNDO_ALLOCATED,
	STORE_FILES,     /* how many */
	STORE_ALLOCATED, /* all files */
	PAGES,           /* in the checkpoint; not judged */
	MEASURES
};

struct sample {
	int64_t value[MEASURES];
};

/* Names of the columns, in the order of enum measure. */
const char *measure_name(enum measure measure);

/* False when the process or the store is gone. `pages` as the store counts them. */
bool measure_take(pid_t pid, const char *store, uint64_t pages, struct sample *sample);

/* Descendants of the caller; the dead ones that nobody has waited for are counted too. */
int measure_descendants(void);

/* Waits for all dead children of the caller but `known`: what a killed process leaves comes to us. */
void measure_reap_orphans(pid_t known);

/* One line "name FIRST -> LAST" for each measure that grew from the first to the last third of
 * the samples, the first fifth left out as warm-up, goes to `out`; how many. With fewer than 9 samples
 * after the warm-up nothing is judged. Of the descriptors so many may be `connections` that come and go. */
int measure_growth(const struct sample *samples, int count, int connections, FILE *out);

/* Median (of what is counted: the least) over a third of the samples: 0 the first, 2 the last; warm-up left
 * out. */
int64_t measure_typical(const struct sample *samples, int count, enum measure measure, int third);

#endif
