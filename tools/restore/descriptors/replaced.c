/* See replaced.h. */
#include "restore/descriptors/replaced.h"

#include <stdlib.h>

struct replaced {
	uint64_t run, old, now;
	bool final; /* `now` is what it is in the end */
};

/* Levels one after the other; those of the last run are the newest in the log. */
static struct replaced *list;
static size_t count, capacity;
static uint64_t *levels;
static size_t level_count, level_capacity;

int restore_enter_level(uint64_t run)
{
	if (level_count > 0 && levels[level_count - 1] == run)
		return 0;
	if (level_count == level_capacity) {
		size_t larger = level_capacity ? 2 * level_capacity : 16;
		uint64_t *grown = realloc(levels, larger * sizeof(*grown));
		if (grown == NULL)
			return -1;
		levels = grown;
		level_capacity = larger;
	}
	levels[level_count++] = run;
	return 0;
}

static int note(uint64_t old, uint64_t now, bool final)
{
	if (level_count == 0 && restore_enter_level(UINT64_MAX) < 0)
		return -1;
	if (count == capacity) {
		size_t larger = capacity ? 2 * capacity : 64;
		struct replaced *grown = realloc(list, larger * sizeof(*grown));
		if (grown == NULL)
			return -1;
		list = grown;
		capacity = larger;
	}
	list[count++] = (struct replaced){levels[level_count - 1], old, now, final};
	return 0;
}

int restore_note_replaced(uint64_t old, uint64_t now)
{
	return note(old, now, false);
}

int restore_note_made(uint64_t old, uint64_t now)
{
	return note(old, now, true);
}

/* What a number became by the restore `run`. Of several files with one number, the one that was removed first
 * is meant: among those read from the log the one met first, and before it any made just now. */
static const struct replaced *find(uint64_t run, uint64_t old)
{
	const struct replaced *found = NULL;
	for (size_t i = 0; i < count; i++)
		if (list[i].run == run && list[i].old == old && (found == NULL || list[i].final))
			found = &list[i];
	return found;
}

bool restore_is_same_inode(uint64_t recorded, uint64_t found)
{
	for (size_t level = level_count; level > 0; level--) {
		const struct replaced *step = find(levels[level - 1], recorded);
		if (step == NULL)
			continue;
		recorded = step->now;
		if (step->final)
			break;
	}
	return recorded == found;
}
