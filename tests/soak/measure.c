/* What a protected process and its store occupy; see measure.h. */
#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/layout.h"
#include "tests/e2e/harness.h"

#define SAMPLES_JUDGED 9 /* fewer say nothing */
#define LOG_SLACK 65536  /* KiB: how long the log gets depends on how busy the machine is */

/* What may change without being growth: the program's memory goes up and down with its load, the log with the
 * pages of an epoch. A leak of a fraction of this for each kill shows in some hundred kills. */
static const struct {
	const char *name;
	int64_t absolute;
	short percent;
	short pages;  /* times what the checkpoint's pages take and LOG_SLACK is never growth */
	bool counted; /* comes and goes: the least of a third says what there always is */
} limits[MEASURES] = {
	[IMAGE_RSS] = {"image_rss", 4096, 4, 0, false},
	[IMAGE_PSS] = {"image_pss", 4096, 4, 0, false},
	[IMAGE_MAPPINGS] = {"image_mappings", 8, 5, 0, true},
	[AREA_ANONYMOUS] = {"area_anonymous", 512, 5, 0, true},
	[AREA_MAPPED] = {"area_mapped", 131072, 10, 0, false},
	[AREA_MAPPINGS] = {"area_mappings", 2, 0, 0, true},
	[DESCRIPTORS] = {"descriptors", 0, 0, 0, true},
	[THREADS] = {"threads", 2, 0, 0, true},
	[ZOMBIES] = {"zombies", 0, 0, 0, true},
	[LOG_SIZE] = {"log_size", 16384, 25, 2, false},
	[LOG_ALLOCATED] = {"log_allocated", 16384, 25, 2, false},
	[HOME_SIZE] = {"home_size", 8192, 5, 0, false},
	[HOME_ALLOCATED] = {"home_allocated", 8192, 5, 0, false},
	[INDEX_SIZE] = {"index_size", 64, 5, 0, false},
	[INDEX_ALLOCATED] = {"index_allocated", 64, 5, 0, false},
	[UNDO_SIZE] = {"undo_size", 16384, 25, 0, false},
	[UNDO_ALLOCATED] = {"undo_allocated", 16384, 25, 0, false},
	[STORE_FILES] = {"store_files", 2, 0, 0, false},
	[STORE_ALLOCATED] = {"store_allocated", 32768, 10, 3, false},
	[PAGES] = {"pages", INT64_MAX, 0, 0, false},
};

const char *measure_name(enum measure measure)
{
	return limits[measure].name;
}

/* ---- the process ---- */

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return fopen(path, "re");
}

/* Adds one line of smaps that belongs to a mapping at `start`. */
static void add_line(const char *line, uint64_t start, struct sample *sample)
{
	bool outside = RT_OUTSIDE_IMAGE(start);
	long kib;

	if (sscanf(line, "Size: %ld", &kib) == 1) {
		sample->value[outside ? AREA_MAPPINGS : IMAGE_MAPPINGS]++;
		if (outside)
			sample->value[AREA_MAPPED] += kib;
	} else if (sscanf(line, "Rss: %ld", &kib) == 1 && !outside) {
		sample->value[IMAGE_RSS] += kib;
	} else if (sscanf(line, "Pss: %ld", &kib) == 1 && !outside) {
		sample->value[IMAGE_PSS] += kib;
	} else if (sscanf(line, "Anonymous: %ld", &kib) == 1 && outside) {
		sample->value[AREA_ANONYMOUS] += kib;
	}
}

static bool measure_memory(pid_t pid, struct sample *sample)
{
	FILE *file = open_proc(pid, "smaps");
	uint64_t start = 0, end, at;
	char line[PATH_MAX + 128];

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &at, &end) == 2)
			start = at;
		else
			add_line(line, start, sample);
	}
	fclose(file);
	return sample->value[IMAGE_MAPPINGS] > 0;
}

static int count_entries(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	int count = 0;

	while (directory && (entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	if (directory)
		closedir(directory);
	return count;
}

static int count_in_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return count_entries(path);
}

/* State and parent of a process; false when it is gone. */
static bool state_of(pid_t pid, char *state, int *parent)
{
	FILE *file = open_proc(pid, "stat");
	char text[512], *after_name;
	size_t length;

	if (!file)
		return false;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	after_name = strrchr(text, ')');
	return after_name && sscanf(after_name + 1, " %c %d", state, parent) == 2;
}

/* Descendants in this state; 0: in any. */
static int count_descendants(char wanted)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int count = 0, parent;
	char state;

	while (proc && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name);

		count +=
			pid > 0 && state_of(pid, &state, &parent) && (!wanted || state == wanted) && child_is_ours(pid);
	}
	if (proc)
		closedir(proc);
	return count;
}

int measure_descendants(void)
{
	return count_descendants(0);
}

void measure_reap_orphans(pid_t known)
{
	siginfo_t dead = {.si_pid = 1};

	while (waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT) == 0 && dead.si_pid > 0 && dead.si_pid != known) {
		waitpid(dead.si_pid, NULL, 0);
		dead.si_pid = 0;
	}
}

/* ---- the store ---- */

static void add_file(const char *name, const struct stat *status, struct sample *sample)
{
	static const struct {
		const char *prefix;
		enum measure size, allocated;
	} kinds[] = {{"log", LOG_SIZE, LOG_ALLOCATED},
		     {"home", HOME_SIZE, HOME_ALLOCATED},
		     {"index", INDEX_SIZE, INDEX_ALLOCATED},
		     {"undo", UNDO_SIZE, UNDO_ALLOCATED}};
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) != 0)
			continue;
		sample->value[kinds[i].size] += status->st_size / 1024;
		sample->value[kinds[i].allocated] += status->st_blocks / 2;
	}
	sample->value[STORE_FILES]++;
	sample->value[STORE_ALLOCATED] += status->st_blocks / 2;
}

/* All files in it; a store has no directories. */
static bool measure_directory(const char *path, struct sample *sample)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	struct stat status;

	if (!directory)
		return false;
	while ((entry = readdir(directory)))
		if (!fstatat(dirfd(directory), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) && S_ISREG(status.st_mode))
			add_file(entry->d_name, &status, sample);
	closedir(directory);
	return true;
}

bool measure_take(pid_t pid, const char *store, uint64_t pages, struct sample *sample)
{
	memset(sample, 0, sizeof(*sample));
	sample->value[PAGES] = (int64_t)pages;
	sample->value[DESCRIPTORS] = count_in_proc(pid, "fd");
	sample->value[THREADS] = count_in_proc(pid, "task");
	sample->value[ZOMBIES] = count_descendants('Z');
	return measure_memory(pid, sample) && measure_directory(store, sample);
}

/* ---- growth ---- */

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t measure_typical(const struct sample *samples, int count, enum measure measure, int third)
{
	int warm_up = count / 5, judged = count - warm_up, size = judged / 3, first, i;
	int64_t *values, typical;

	if (size < 1)
		return count > 0 ? samples[count - 1].value[measure] : 0;
	first = third == 0 ? warm_up : third == 2 ? count - size : warm_up + size;
	values = calloc((size_t)size, sizeof(*values));
	if (!values)
		abort();
	for (i = 0; i < size; i++)
		values[i] = samples[first + i].value[measure];
	qsort(values, (size_t)size, sizeof(*values), compare);
	typical = values[limits[measure].counted ? 0 : size / 2];
	free(values);
	return typical;
}

/* A store has at most two copies of the live pages and what the epochs under way have dirtied. */
static int64_t store_may_take(const struct sample *samples, int count, enum measure measure)
{
	int64_t pages = measure_typical(samples, count, PAGES, 2);

	return limits[measure].pages ? limits[measure].pages * pages * 4 + LOG_SLACK : 0;
}

int measure_growth(const struct sample *samples, int count, int connections, FILE *out)
{
	int measure, grown = 0;

	if (count - count / 5 < SAMPLES_JUDGED)
		return 0;
	for (measure = 0; measure < PAGES; measure++) {
		int64_t first = measure_typical(samples, count, measure, 0);
		int64_t last = measure_typical(samples, count, measure, 2);

		int64_t allowed = first * limits[measure].percent / 100 + limits[measure].absolute;

		if (measure == DESCRIPTORS)
			allowed += connections;
		if (last <= first + allowed || last <= store_may_take(samples, count, measure))
			continue;
		fprintf(out, "grew: %s %lld -> %lld\n", limits[measure].name, (long long)first, (long long)last);
		grown++;
	}
	return grown;
}
