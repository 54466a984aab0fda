/*
 * Finding dirty pages: one interface, three back ends.
 *
 * wp_async    userfaultfd with UFFD_FEATURE_WP_ASYNC, and the PAGEMAP_SCAN ioctl (Linux 6.7). The kernel
 *             clears the write-protection of a page on its first write; a scan reports such pages.
 * soft_dirty  /proc/self/clear_refs and the soft-dirty bits of /proc/self/pagemap, where the kernel has
 *             CONFIG_MEM_SOFT_DIRTY. The bits are cleared for the whole process at once: only in the stop.
 * compare     no tracking: every present page counts as perhaps written, and is compared with the store.
 *
 * One tracker per process. Checkpoint thread, unless said otherwise; raw system calls only.
 */
#ifndef RT_TRACK_H
#define RT_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/region.h"

/* In the order of preference. The numbers are in the statistics of a store. */
enum rt_track_kind {
	RT_TRACK_ANY = 0, /* none chosen yet */
	RT_TRACK_WP_ASYNC = 1,
	RT_TRACK_SOFT_DIRTY = 2,
	RT_TRACK_COMPARE = 3,
	RT_TRACK_KINDS,
};

/* Environment variable: the name of the back end to use. Without it the best that works here. */
#define RT_TRACK_VARIABLE "RESPCT_TRACK"
#define RT_TRACK_NAMES "wp_async, soft_dirty or compare"

struct rt_tracker;

/* ---- choosing ---- */

/* The kind of this name, RT_TRACK_KINDS when there is none. NULL and "" name RT_TRACK_ANY. */
enum rt_track_kind rt_track_named(const char *name);

/* Name and one line about it. "none" for what is not a kind. */
const char *rt_track_name(enum rt_track_kind kind);
const char *rt_track_description(enum rt_track_kind kind);

/* Whether this kernel can: a self-test of the shapes relied on, in the calling process. 0, or
 * -errno of the step that failed (-EPROTO: a step gave a wrong answer). *step names it. */
int rt_track_self_test(enum rt_track_kind kind, const char **step);

/* The first kind that passes its self-test; with `wanted`, none but that. 0, or the self-test's error. Not
 * while a tracker is in use: the test of soft_dirty clears the bits of the whole process. */
int rt_track_choose(enum rt_track_kind wanted, enum rt_track_kind *kind, const char **step);

/* ---- a tracker ---- */

/* What a tracker works with; the descriptors stay the caller's. */
struct rt_track_files {
	int pagemap; /* /proc/self/pagemap */
	int memory;  /* /proc/self/mem; readable */
	int control; /* of rt_track_open_control() */
};

/* The descriptor that a back end needs for itself, close-on-exec; *fd is -1 when it needs none. 0 or -errno. */
int rt_track_open_control(enum rt_track_kind kind, int *fd);

/* Opens a tracker on the calling process. 0 or -errno. */
int rt_track_open(enum rt_track_kind kind, const struct rt_track_files *files, struct rt_tracker **tracker);

/* Whether each page that is reported as written was written since it was clean; else it may hold what it held. */
bool rt_track_is_exact(const struct rt_tracker *tracker);

/* Whether a scan of dirty pages makes them clean, so that another one finds what came after. */
bool rt_track_cleans(const struct rt_tracker *tracker);

/* Called for a range of pages [start, end) with their PAGE_IS_* categories; an error ends the scan. */
typedef int (*rt_track_visit)(void *context, const struct region *region, uint64_t start, uint64_t end,
			      uint64_t categories);

/*
 * Memory has come to a place that nobody else knows yet: mapped anew, or, with `moved`, moved there with its
 * contents. Any thread, all signals blocked: since before the move when it was moved.
 *
 * Where tracking is by registration, it is registered. Other memory is only registered while the program
 * is stopped: registering part of a mapping splits it, and a running program would see that (mremap()
 * across the split fails).
 */
void rt_track_register(struct rt_tracker *tracker, const void *start, size_t length, bool moved);

/* Visits the dirty pages of all regions, with `region` NULL, and makes them clean where that can be done one by
 * one (rt_track_cleans()). The program may run. */
int rt_track_scan_dirty(struct rt_tracker *tracker, const struct region_table *regions, rt_track_visit visit,
			void *context);

/* Visits all ranges of all tracked regions, pages and holes, and leaves dirty what is dirty.
 * The program's threads are parked. */
int rt_track_scan_all(struct rt_tracker *tracker, const struct region_table *regions, rt_track_visit visit,
		      void *context);

/* In the same stop: all that was reported as written has been captured. 0 or -errno: then nothing is known
 * about what is dirty. */
int rt_track_captured(struct rt_tracker *tracker);

/* The PAGE_IS_* categories of one page. */
int rt_track_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories);

/* Whether the contents of a page with these categories must be in the store. */
bool rt_track_has_contents(const struct region *region, uint64_t categories);

/* Takes everything present as clean: right after a restore. */
int rt_track_forget_all(struct rt_tracker *tracker, const struct region_table *regions);

#endif
