/*
 * The checkpoint as respct-restore reads it: the open store and its manifest, checked.
 */
#ifndef RESTORE_IMAGE_H
#define RESTORE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "manifest.h"
#include "store/store.h"

struct image {
	struct store *store;
	struct store_status status;
	const void *manifest;
	size_t manifest_length;
	const struct manifest_process *process;
	uint32_t advice_count, region_count, thread_count, signal_count, timer_count, limit_count, group_count,
		child_count, queued_signal_count, posix_timer_count;
	const uint32_t *groups;
	const struct manifest_processor *processor;
	const void *auxv;
	uint32_t auxv_length;
	const char *cwd, *executable;
	bool cwd_deleted;          /* `cwd` is what its name was */
	struct manifest_undo undo; /* id 0: nothing of files is to be undone */
	int highest_descriptor;
};

/* Opens the store read-only and checks the manifest as far as it can without changing anything;
 * refuse()s with one line otherwise. `lowest_fd` as in rt_store_open(). */
void image_open(struct image *image, const char *directory, int lowest_fd);

/* The second half of it: checks `manifest`, and takes note of what it says. */
void image_check(struct image *image, const char *directory);

/* The next record of this kind, `*cursor` starting at 0; NULL after the last. */
const void *image_next(const struct image *image, size_t *cursor, enum manifest_kind kind, uint32_t *length);

/* The path of a region record, "" when it has none. */
const char *image_region_path(const struct manifest_region *region, uint32_t length);

#endif
