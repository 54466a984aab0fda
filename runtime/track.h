/*
 * Finding dirty pages: userfaultfd with UFFD_FEATURE_WP_ASYNC, and the PAGEMAP_SCAN ioctl.
 *
 * The kernel clears the write-protection of a page on its first write and tells nobody; a scan
 * reports such pages as written. One tracker per process. Checkpoint thread.
 */
#ifndef RT_TRACK_H
#define RT_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "region.h"

struct rt_tracker;

/* Whether this kernel can: a self-test of the shapes relied on, in the calling process. 0, or
 * -errno of the step that failed (-EPROTO: a step gave a wrong answer). *step names it. */
int rt_track_self_test(const char **step);

/* Opens a tracker on the calling process. `pagemap_fd` and `uffd` stay the caller's. */
int rt_track_open(int pagemap_fd, int uffd, struct rt_tracker **tracker);

/* A userfaultfd that tracks asynchronously, close-on-exec, or -errno. */
int rt_track_open_uffd(void);

/* Called for a range of pages [start, end) with their PAGE_IS_* categories; an error ends the scan. */
typedef int (*rt_track_visit)(void *context, const struct region *region, uint64_t start, uint64_t end,
			      uint64_t categories);

/*
 * Registers memory that was just mapped and that nobody else knows yet; any thread. Other
 * memory is only registered while the program is stopped: registering part of a mapping splits
 * it, and a running program would see that (mremap() across the split fails).
 */
void rt_track_register(int uffd, const void *start, size_t length);

/* Visits the dirty pages of all registered regions and protects them again, with `region` NULL. The
 * program may run. */
int rt_track_scan_dirty(struct rt_tracker *tracker, const struct region_table *regions,
			rt_track_visit visit, void *context);

/* Visits all ranges of all tracked regions, pages and holes, without changing protection.
 * The program's threads are parked. */
int rt_track_scan_all(struct rt_tracker *tracker, const struct region_table *regions,
		      rt_track_visit visit, void *context);

/* The PAGE_IS_* categories of one page. */
int rt_track_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories);

/* Whether the contents of a page with these categories must be in the store. */
bool rt_track_has_contents(const struct region *region, uint64_t categories);

/* Takes everything present as clean: right after a restore. */
int rt_track_forget_all(struct rt_tracker *tracker, const struct region_table *regions);

#endif
