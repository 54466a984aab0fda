/* The tracker: what is common to the back ends, and shared memory, which none of them tracks. See ../track.h. */
#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "backend.h"
#include "base/memory.h"
#include "base/sys.h"
#include "base/uapi.h"

#define RESIDENCY_PAGES 4096 /* pages asked for per mincore() */

static const struct rt_track_backend *const backends[RT_TRACK_KINDS] = {
	[RT_TRACK_WP_ASYNC] = &rt_track_wp_async,
	[RT_TRACK_SOFT_DIRTY] = &rt_track_soft_dirty,
	[RT_TRACK_COMPARE] = &rt_track_compare,
};

static const struct rt_track_backend *backend_of(enum rt_track_kind kind)
{
	return kind > RT_TRACK_ANY && kind < RT_TRACK_KINDS ? backends[kind] : NULL;
}

enum rt_track_kind rt_track_named(const char *name)
{
	if (name == NULL || name[0] == '\0')
		return RT_TRACK_ANY;
	enum rt_track_kind kind = RT_TRACK_ANY + 1;
	while (kind < RT_TRACK_KINDS && strcmp(backends[kind]->name, name) != 0)
		kind++;
	return kind;
}

const char *rt_track_name(enum rt_track_kind kind)
{
	return backend_of(kind) != NULL ? backend_of(kind)->name : "none";
}

const char *rt_track_description(enum rt_track_kind kind)
{
	return backend_of(kind) != NULL ? backend_of(kind)->description : "none";
}

int rt_track_open_control(enum rt_track_kind kind, int *fd)
{
	const struct rt_track_backend *backend = backend_of(kind);
	*fd = -1;
	if (backend == NULL)
		return -EINVAL;
	int opened = backend->open_control != NULL ? backend->open_control() : 0;
	if (opened < 0)
		return opened;
	if (backend->open_control != NULL)
		*fd = opened;
	return 0;
}

int rt_track_open(enum rt_track_kind kind, const struct rt_track_files *files, struct rt_tracker **tracker)
{
	if (backend_of(kind) == NULL)
		return -EINVAL;
	*tracker = rt_memory_map(sizeof(**tracker));
	if (*tracker == NULL)
		return -ENOMEM;
	(*tracker)->backend = backend_of(kind);
	(*tracker)->files = *files;
	(*tracker)->fresh = true;
	if ((*tracker)->backend->open != NULL)
		(*tracker)->backend->open(*tracker);
	return 0;
}

bool rt_track_is_exact(const struct rt_tracker *tracker)
{
	return tracker->backend->exact;
}

bool rt_track_cleans(const struct rt_tracker *tracker)
{
	return tracker->backend->cleans;
}

void rt_track_register(struct rt_tracker *tracker, const void *start, size_t length, bool moved)
{
	if (tracker->backend->register_range != NULL)
		tracker->backend->register_range(tracker, (uint64_t)start, (uint64_t)start + RT_PAGE_ALIGN_UP(length),
						 moved);
}

/* ---- which pages ---- */

bool rt_track_wants_file_pages(const struct region *region)
{
	return rt_region_is_shared_memory(region) || region->capture_all;
}

bool rt_track_is_private(const struct region *region)
{
	return region->tracked && !rt_region_is_shared_memory(region);
}

bool rt_track_has_contents(const struct region *region, uint64_t categories)
{
	if ((categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)) == 0 ||
	    (categories & (PAGE_IS_PFNZERO | PAGE_IS_GUARD)) != 0)
		return false;
	return (categories & PAGE_IS_FILE) == 0 || rt_track_wants_file_pages(region);
}

/* The regions [from, result) are scanned at once: tracked, of one kind, with pages of files that matter or not. */
static size_t end_of_run(const struct region_table *regions, size_t from)
{
	const struct region *first = &regions->entries[from];
	size_t to = from + 1;
	while (to < regions->count && regions->entries[to].tracked && regions->entries[to].kind == first->kind &&
	       rt_track_wants_file_pages(&regions->entries[to]) == rt_track_wants_file_pages(first))
		to++;
	return to;
}

/*
 * Shared memory: other mappings and other processes write to it without a trace in ours. Every page
 * that exists counts as written. Where there is swap, one that is not resident may exist, too.
 */
static int scan_shared(const struct region *region, rt_track_visit visit, void *context)
{
	unsigned char resident[RESIDENCY_PAGES];
	struct sysinfo system = {0};
	rt_syscall(SYS_sysinfo, &system);
	uint64_t absent = system.totalswap > 0 ? PAGE_IS_SWAPPED | PAGE_IS_FILE : 0;
	for (uint64_t at = region->start; at < region->end;) {
		uint64_t pages = (region->end - at) / RT_PAGE_SIZE;
		pages = pages < RESIDENCY_PAGES ? pages : RESIDENCY_PAGES;
		int result = (int)rt_syscall(SYS_mincore, at, pages * RT_PAGE_SIZE, resident);
		for (uint64_t i = 0, run; i < pages && result == 0; i += run) {
			for (run = 1; i + run < pages && !(resident[i + run] & 1) == !(resident[i] & 1);)
				run++;
			uint64_t categories =
				resident[i] & 1 ? PAGE_IS_PRESENT | PAGE_IS_FILE | PAGE_IS_WRITTEN : absent;
			result = visit(context, region, at + i * RT_PAGE_SIZE, at + (i + run) * RT_PAGE_SIZE,
				       categories);
		}
		if (result < 0)
			return result;
		at += pages * RT_PAGE_SIZE;
	}
	return 0;
}

/* ---- scanning ---- */

int rt_track_scan_dirty(struct rt_tracker *tracker, const struct region_table *regions, rt_track_visit visit,
			void *context)
{
	for (size_t from = 0, to; from < regions->count; from = to) {
		to = from + 1;
		if (!rt_track_is_private(&regions->entries[from]))
			continue;
		to = end_of_run(regions, from);
		int result = tracker->backend->scan_dirty(tracker, regions, from, to, visit, context);
		if (result < 0)
			return result;
	}
	return 0;
}

int rt_track_scan_all(struct rt_tracker *tracker, const struct region_table *regions, rt_track_visit visit,
		      void *context)
{
	for (size_t from = 0, to; from < regions->count; from = to) {
		int result = 0;
		to = from + 1;
		if (!regions->entries[from].tracked)
			continue;
		if (!rt_track_is_private(&regions->entries[from])) {
			result = scan_shared(&regions->entries[from], visit, context);
		} else {
			to = end_of_run(regions, from);
			result = tracker->backend->scan_all(tracker, regions, from, to, visit, context);
		}
		if (result < 0)
			return result;
	}
	return 0;
}

int rt_track_captured(struct rt_tracker *tracker)
{
	return tracker->backend->captured != NULL ? tracker->backend->captured(tracker) : 0;
}

int rt_track_page(struct rt_tracker *tracker, uint64_t page, uint64_t *categories)
{
	return tracker->backend->page(tracker, page, categories);
}

int rt_track_forget_all(struct rt_tracker *tracker, const struct region_table *regions)
{
	return tracker->backend->forget_all(tracker, regions);
}
