/* What processes may leave behind in the system; see outside.h. */
#include "outside.h"

#include <dirent.h>
#include <fnmatch.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "measure.h"
#include "tests/e2e/harness.h"

#define PATIENCE 20 /* seconds for what is about to end */

void outside_keep_apart(void)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0)
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

static int count_mounts(void)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	int count = 0, c;

	while (file && (c = getc(file)) != EOF)
		count += c == '\n';
	if (file)
		fclose(file);
	return count;
}

static int count_segments(void)
{
	FILE *file = fopen("/proc/sysvipc/shm", "re");
	char line[512];
	int count = 0, attached;

	while (file && fgets(line, sizeof(line), file))
		count += sscanf(line, "%*d %*d %*o %*d %*d %*d %d", &attached) == 1 && attached == 0;
	if (file)
		fclose(file);
	return count;
}

/* As the tools name them; other tests, which may run at the same time, give theirs longer names. */
static bool is_temporary(const char *name)
{
	return fnmatch("respct-??????", name, 0) == 0 || fnmatch(".respct-*", name, FNM_PERIOD) == 0;
}

static void look_into(struct outside *outside, const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (is_temporary(entry->d_name) && outside->names < OUTSIDE_NAMES)
			outside->name[outside->names++] = format_text("%s/%s", path, entry->d_name);
	if (directory)
		closedir(directory);
}

void outside_look(const char *directory, struct outside *outside)
{
	memset(outside, 0, sizeof(*outside));
	outside->mounts = count_mounts();
	outside->segments = count_segments();
	look_into(outside, "/tmp");
	look_into(outside, "/var/tmp");
	look_into(outside, "/dev/shm");
	look_into(outside, directory);
}

static bool is_in(const struct outside *outside, const char *name)
{
	int i;

	for (i = 0; i < outside->names; i++)
		if (!strcmp(outside->name[i], name))
			return true;
	return false;
}

static char *find_difference(const struct outside *before, const struct outside *after)
{
	int i, processes = measure_descendants();

	if (processes > 0)
		return format_text("%d processes", processes);
	if (after->mounts > before->mounts)
		return format_text("%d mounts", after->mounts - before->mounts);
	if (after->segments > before->segments)
		return format_text("%d System V segments", after->segments - before->segments);
	for (i = 0; i < after->names; i++)
		if (!is_in(before, after->name[i]))
			return after->name[i];
	return NULL;
}

char *outside_difference(const char *directory, const struct outside *before)
{
	static struct outside after;
	char *difference = NULL;
	int waited;

	for (waited = 0; waited < PATIENCE; waited++) {
		measure_reap_orphans(0);
		outside_look(directory, &after);
		difference = find_difference(before, &after);
		if (!difference)
			break;
		sleep(1);
	}
	return difference;
}
