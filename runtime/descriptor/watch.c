/*
 * Which path an inotify watch was set on. The kernel tells the inode of a watch but no path, so the
 * shim's inotify_add_watch() leaves a note here: in the image, read in the stop.
 *
 * Notes are never changed nor removed once they are linked, so a walk needs no lock; a watch set anew
 * on the same file under the same path needs no new note.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "descriptor/table.h"

#define BUCKETS 256

struct watch_note {
	struct watch_note *next;
	uint64_t device, inode;
	char path[]; /* absolute */
};

static struct watch_note *buckets[BUCKETS];

static struct watch_note **bucket_of(uint64_t inode)
{
	return &buckets[inode % BUCKETS];
}

/* The device as fdinfo shows it. */
static uint64_t kernel_device(uint64_t device)
{
	return (uint64_t)major(device) << 20 | minor(device);
}

void rt_descriptors_note_watch(uint64_t device, uint64_t inode, const char *path)
{
	struct watch_note **bucket = bucket_of(inode), *first = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);
	device = kernel_device(device);
	for (struct watch_note *note = first; note != NULL; note = note->next)
		if (note->device == device && note->inode == inode) {
			if (strcmp(note->path, path) == 0)
				return;
			break;
		}
	size_t length = strlen(path) + 1;
	struct watch_note *note = malloc(sizeof(*note) + length);
	if (note == NULL)
		return;
	*note = (struct watch_note){.device = device, .inode = inode};
	memcpy(note->path, path, length);
	do
		note->next = first;
	while (!__atomic_compare_exchange_n(bucket, &first, note, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
}

const char *rt_descriptor_watched_path(uint64_t device, uint64_t inode)
{
	for (struct watch_note *note = __atomic_load_n(bucket_of(inode), __ATOMIC_ACQUIRE); note; note = note->next)
		if (note->device == device && note->inode == inode)
			return note->path;
	return NULL;
}
