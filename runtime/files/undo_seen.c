/* The files that the undo log has met; see undo_seen.h. */
#include "undo_seen.h"

#include <stddef.h>

#define PROBES 8

struct rt_seen *rt_seen_look_up(struct rt_seen_files *files, const struct stat *status)
{
	uint64_t device = status->st_dev, inode = status->st_ino;
	uint64_t hash = (inode ^ (device << 32)) * 0x9e3779b97f4a7c15UL;
	struct rt_seen *place = NULL;
	for (unsigned i = 0; i < PROBES; i++) {
		struct rt_seen *entry = &files->entries[((hash >> 40) + i) % RT_SEEN_FILES];
		bool current = entry->interval == files->interval;
		if (current && entry->device == device && entry->inode == inode)
			return entry;
		if (place == NULL || (!current && place->interval == files->interval))
			place = entry;
	}
	*place = (struct rt_seen){.device = device, .inode = inode, .interval = files->interval};
	return place;
}

void rt_seen_forget_names(struct rt_seen_files *files)
{
	for (unsigned i = 0; i < RT_SEEN_FILES; i++)
		files->entries[i].named = false;
}

void rt_seen_start_over(struct rt_seen_files *files)
{
	files->interval++;
}
