/* What processes may leave behind in the system; see outside.h. */
#include "outside.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "measure.h"
#include "tests/e2e/harness.h"

#define PATIENCE 20 /* seconds for what is about to end */

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

/* Stores and directories of other tests, which may run at the same time, are not what we look for. */
static bool is_temporary(const char *name)
{
	return strstr(name, "respct") && strncmp(name, "respct-test-", 12) &&
	       strncmp(name, "respct-build-", 13);
}

static void look_into(struct outside *outside, const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		if (is_temporary(entry->d_name) && outside->names < OUTSIDE_NAMES)
			outside->name[outside->names++] = harness_format("%s/%s", path, entry->d_name);
	if (directory)
		closedir(directory);
}

void outside_look(struct outside *outside)
{
	memset(outside, 0, sizeof(*outside));
	outside->mounts = count_mounts();
	outside->segments = count_segments();
	look_into(outside, "/tmp");
	look_into(outside, "/var/tmp");
	look_into(outside, "/dev/shm");
}

static bool is_in(const struct outside *outside, const char *name)
{
	int i;

	for (i = 0; i < outside->names; i++)
		if (!strcmp(outside->name[i], name))
			return true;
	return false;
}

static char *find_difference(const struct outside *before, const struct outside *after, const char *own)
{
	int i, processes = measure_descendants();

	if (processes > 0)
		return harness_format("%d processes", processes);
	if (after->mounts > before->mounts)
		return harness_format("%d mounts", after->mounts - before->mounts);
	if (after->segments > before->segments)
		return harness_format("%d System V segments", after->segments - before->segments);
	for (i = 0; i < after->names; i++)
		if (!is_in(before, after->name[i]) && !strstr(after->name[i], own))
			return after->name[i];
	return NULL;
}

char *outside_difference(const struct outside *before, struct outside *after, const char *own)
{
	const char *own_name = strrchr(own, '/') + 1;
	char *difference = find_difference(before, after, own_name);
	int waited;

	for (waited = 0; difference && waited < PATIENCE; waited++) {
		sleep(1);
		measure_reap_orphans(0);
		outside_look(after);
		difference = find_difference(before, after, own_name);
	}
	return difference;
}
