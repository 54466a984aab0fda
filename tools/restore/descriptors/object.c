/* The registry of shared memory; see object.h. */
#include "restore/descriptors/object.h"

#include <stddef.h>
#include <stdlib.h>

static struct shared_object *objects;
static uint32_t count;

struct shared_object *restore_object_add(uint64_t device, uint64_t inode, int fd)
{
	struct shared_object *grown = realloc(objects, (count + 1) * sizeof(*objects));
	if (grown == NULL)
		return NULL;
	objects = grown;
	objects[count] = (struct shared_object){.device = device, .inode = inode, .fd = fd};
	return &objects[count++];
}

struct shared_object *restore_object_find(uint64_t device, uint64_t inode)
{
	for (uint32_t i = 0; i < count; i++)
		if (objects[i].inode == inode && objects[i].device == device)
			return &objects[i];
	return NULL;
}

struct shared_object *restore_object_at(uint32_t index)
{
	return index < count ? &objects[index] : NULL;
}
