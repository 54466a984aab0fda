/* See links.h. */
#include "links.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"

#define KNOWN_NAMES 256
#define KNOWN_NAME_BYTES 512

struct known_name {
	uint64_t device, inode;
	char path[KNOWN_NAME_BYTES];
};

static struct known_name names[KNOWN_NAMES];
static unsigned next_name;

static struct known_name *find(uint64_t device, uint64_t inode, const char *path)
{
	for (unsigned i = 0; i < KNOWN_NAMES; i++)
		if (names[i].inode == inode && names[i].device == device && strcmp(names[i].path, path) == 0)
			return &names[i];
	return NULL;
}

void rt_links_note(uint64_t device, uint64_t inode, const char *path)
{
	size_t length = strlen(path);
	if (length >= KNOWN_NAME_BYTES || find(device, inode, path) != NULL)
		return;
	struct known_name *name = &names[next_name++ % KNOWN_NAMES];
	name->device = device;
	name->inode = inode;
	memcpy(name->path, path, length + 1);
}

const char *rt_links_other(uint64_t device, uint64_t inode, const char *except)
{
	struct stat status;
	for (unsigned i = 0; i < KNOWN_NAMES; i++)
		if (names[i].inode == inode && names[i].device == device && strcmp(names[i].path, except) != 0 &&
		    rt_sys_fstatat(AT_FDCWD, names[i].path, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
		    status.st_ino == inode && status.st_dev == device)
			return names[i].path;
	return NULL;
}
