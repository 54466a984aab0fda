/* Where stores go unless told: persistent memory if there is any, else /dev/shm. */
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "common/report.h"

static bool is_writable_dax(const struct mntent *mount)
{
	return (hasmntopt(mount, "dax") != NULL || hasmntopt(mount, "dax=always") != NULL) &&
	       hasmntopt(mount, "ro") == NULL && access(mount->mnt_dir, W_OK) == 0;
}

static bool find_dax(char *path)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	bool found = false;
	for (struct mntent *mount; mounts != NULL && !found && (mount = getmntent(mounts)) != NULL;) {
		found = is_writable_dax(mount);
		if (found)
			snprintf(path, PATH_MAX, "%s", mount->mnt_dir);
	}
	if (mounts != NULL)
		endmntent(mounts);
	return found;
}

int default_base(char *path)
{
	char mount[PATH_MAX - 64];
	struct stat status;
	bool dax = find_dax(path);
	snprintf(mount, sizeof(mount), "%s", dax ? path : "/dev/shm");
	snprintf(path, PATH_MAX, "%s/respct-%u", mount, geteuid());
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		refuse("%s: %s: say where the store goes with --store", path, strerror(errno));
	if (lstat(path, &status) < 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid() ||
	    (status.st_mode & 077) != 0)
		refuse("%s: not a private directory of yours: say where the store goes with --store", path);
	return dax;
}
