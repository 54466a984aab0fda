/* See others.h. */
#include "restore/files/others.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

#include "common/report.h"

static struct {
	uint64_t device, inode;
} * mapped;
static size_t count, capacity;

static void note(uint64_t device, uint64_t inode)
{
	if (count == capacity) {
		capacity = capacity ? 2 * capacity : 64;
		mapped = realloc(mapped, capacity * sizeof(*mapped));
		if (mapped == NULL)
			refuse("out of memory");
	}
	mapped[count].device = device;
	mapped[count++].inode = inode;
}

static void look_at_process(const char *pid)
{
	char path[300], line[4600];
	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	FILE *maps = fopen(path, "re");
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		char shared;
		unsigned major, minor;
		unsigned long inode;
		if (sscanf(line, "%*s %*3c%c %*s %x:%x %lu", &shared, &major, &minor, &inode) == 4 && shared == 's' &&
		    inode != 0)
			note(makedev(major, minor), inode);
	}
	if (maps != NULL)
		fclose(maps);
}

void others_look_around(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	while (proc != NULL && (entry = readdir(proc)) != NULL)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			look_at_process(entry->d_name);
	if (proc != NULL)
		closedir(proc);
}

bool others_have_mapped(uint64_t device, uint64_t inode)
{
	for (size_t i = 0; i < count; i++)
		if (mapped[i].inode == inode && mapped[i].device == device)
			return true;
	return false;
}
