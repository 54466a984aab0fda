/* respct ls, stat and inspect: what stores hold. */
#include <argp.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backtrace.h"
#include "base/message.h"
#include "commands.h"
#include "common/crash_record.h"
#include "common/plain.h"
#include "common/report.h"
#include "engine.h"
#include "manifest.h"

#define NS_PER_S 1000000000L

struct store *open_for_reading(const char *directory)
{
	struct store *store;
	if (rt_store_open(directory, false, 3, &store, NULL) < 0)
		refuse("%s: %s", directory, rt_store_problem());
	return store;
}

const char *state_name(enum store_state state)
{
	return state == STORE_ENDED ? "ended" : state == STORE_RUNNING ? "running" : "empty";
}

/* Who holds the store's lock tells whether its process lives. */
int live_process(const char *directory)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = rt_store_open_file(directory, "lock", O_RDONLY, 0);
	if (fd < 0)
		return 0;
	int result = fcntl(fd, F_GETLK, &lock);
	close(fd);
	if (result < 0 || lock.l_type == F_UNLCK)
		return 0;
	return lock.l_pid > 0 ? lock.l_pid : -1;
}

/* A directory argument and nothing else. */
struct show_options {
	const char *directory;
	const char *page;
};

static error_t parse_show(int key, char *argument, struct argp_state *state)
{
	struct show_options *options = state->input;
	switch (key) {
	case 'p': options->page = argument; return 0;
	case ARGP_KEY_ARG:
		if (options->directory != NULL)
			refuse("one store at a time (try --help)");
		options->directory = argument;
		return 0;
	case ARGP_KEY_END:
		if (options->directory == NULL)
			refuse("which store? (try --help)");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

/* ---- stat ---- */

static int compare_samples(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Of the process that wrote the store last. */
static bool read_statistics(const char *directory, struct engine_statistics *statistics)
{
	int fd = rt_store_open_file(directory, "statistics", O_RDONLY, 0);
	if (fd < 0)
		return false;
	ssize_t got = read(fd, statistics, sizeof(*statistics));
	close(fd);
	return got == (ssize_t)sizeof(*statistics);
}

static void print_statistics(const char *directory, bool alive)
{
	static struct engine_statistics statistics;
	if (!read_statistics(directory, &statistics))
		return;
	if (alive && statistics.suspended != 0)
		printf("unprotected: %s\n", rt_error_text((int)statistics.suspended));
	if (statistics.stops == 0)
		return;
	uint64_t samples = statistics.stops < PARKED_SAMPLES ? statistics.stops : PARKED_SAMPLES;
	qsort(statistics.parked_ns, samples, sizeof(uint32_t), compare_samples);
	printf("tracking: %s\n", rt_track_name((enum rt_track_kind)statistics.track));
	printf("checkpoints: %lu\n", (unsigned long)statistics.checkpoints);
	printf("abandoned: %lu\n", (unsigned long)statistics.abandoned);
	printf("pages_written: %lu\n", (unsigned long)(statistics.pages_written + statistics.pages_precopied));
	printf("pages_in_stop: %lu\n", (unsigned long)statistics.pages_written);
	printf("stragglers: %lu\n", (unsigned long)statistics.stragglers);
	printf("quiesce_us_mean: %.1f\n", (double)statistics.quiesce_ns_total / 1e3 / (double)statistics.stops);
	printf("capture_memory_us_mean: %.1f\n", (double)statistics.memory_ns_total / 1e3 / (double)statistics.stops);
	printf("capture_process_us_mean: %.1f\n", (double)statistics.process_ns_total / 1e3 / (double)statistics.stops);
	printf("parked_us_median: %.1f\n", statistics.parked_ns[samples / 2] / 1e3);
	printf("parked_us_p99: %.1f\n", statistics.parked_ns[samples * 99 / 100] / 1e3);
	printf("parked_us_max: %.1f\n", (double)statistics.parked_ns_max / 1e3);
}

/* Whether the record is of the life that made the last checkpoint. */
static bool is_of_last_life(const struct crash_record *record, const struct store_status *status)
{
	return record->note.owner_start == status->owner_start;
}

static void print_crash_figures(const char *directory, const struct store_status *status)
{
	struct crash_record record;
	char text[256];
	if (!crash_read(directory, &record))
		return;
	crash_describe(&record, text, sizeof(text));
	printf("%s: %s\n", is_of_last_life(&record, status) ? "died_of" : "died_before_of", make_plain(text));
	printf("death_time_ns: %ld\n", (long)record.note.realtime_ns);
	crash_free(&record);
}

int command_stat(int argc, char **argv)
{
	static const struct argp parser = {.parser = parse_show,
					   .args_doc = "STORE",
					   .doc = "Show figures of a store, one \"key: value\" a line."};
	struct show_options options = {0};
	struct store_status status;
	parse_arguments(&parser, argc, argv, 0, &options);
	struct store *store = open_for_reading(options.directory);
	rt_store_status(store, &status);
	printf("state: %s\n", state_name(status.state));
	if (status.state == STORE_ENDED)
		printf("exit_status: %d\n", WEXITSTATUS(status.exit_status));
	int pid = live_process(options.directory);
	printf("alive: %s\n", pid ? "yes" : "no");
	if (pid > 0)
		printf("pid: %d\n", pid);
	printf("epoch: %lu\n", (unsigned long)status.epoch);
	printf("commit_time_ns: %ld\n", (long)status.commit_time_ns);
	printf("pages: %lu\n", (unsigned long)status.page_count);
	printf("bytes: %lu\n", (unsigned long)status.bytes_on_media);
	printf("durability: %s\n", status.durability == STORE_DURABILITY_POWER ? "power" : "process");
	printf("persistent_memory: %s\n", status.is_pmem ? "yes" : "no");
	print_crash_figures(options.directory, &status);
	print_statistics(options.directory, pid > 0);
	rt_store_close(store);
	return 0;
}

/* ---- ls ---- */

static void print_row(const char *base, const char *name)
{
	char path[PATH_MAX + 256];
	struct store *store;
	struct store_status status;
	struct timespec now;
	snprintf(path, sizeof(path), "%s/%s", base, name);
	if (rt_store_open(path, false, 3, &store, NULL) < 0) {
		printf("%-10s %8s %10s  %s\n", "damaged", "-", "-", plain_text(path));
		return;
	}
	rt_store_status(store, &status);
	clock_gettime(CLOCK_REALTIME, &now);
	int pid = live_process(path);
	const char *state = pid ? "alive" : status.state == STORE_RUNNING ? "crashed" : state_name(status.state);
	double age = status.epoch ? (double)(now.tv_sec * NS_PER_S + now.tv_nsec - status.commit_time_ns) / 1e9 : 0;
	char ended[32];
	if (!pid && status.state == STORE_ENDED) {
		snprintf(ended, sizeof(ended), "ended, %d", WEXITSTATUS(status.exit_status));
		state = ended;
	}
	printf("%-10s %8.1fs %7.1f MiB  %s\n", state, age, (double)status.bytes_on_media / (1 << 20), plain_text(path));
	rt_store_close(store);
}

static error_t parse_nothing(int key, char *argument, struct argp_state *state)
{
	(void)state;
	if (key == ARGP_KEY_ARG)
		refuse("%s: no argument is wanted here (try --help)", argument);
	return ARGP_ERR_UNKNOWN;
}

int command_ls(int argc, char **argv)
{
	static const struct argp parser = {.parser = parse_nothing, .doc = "List the stores in the default place."};
	char base[PATH_MAX];
	parse_arguments(&parser, argc, argv, 0, NULL);
	default_base(base);
	struct dirent **entries;
	int count = scandir(base, &entries, NULL, alphasort);
	if (count < 0)
		refuse("%s: %s", base, strerror(errno));
	printf("%-10s %9s %11s  %s\n", "STATE", "AGE", "SIZE", "STORE");
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.')
			print_row(base, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return 0;
}

/* ---- inspect ---- */

static int print_page(struct store *store, const char *address)
{
	char *end;
	uint64_t page = strtoull(address, &end, 0);
	if (*end != '\0' || address[0] == '\0')
		refuse("%s: not an address", address);
	/* Read, not mapped: a live program may cut the file meanwhile. */
	char contents[4096];
	uint64_t offset;
	int fd;
	if (rt_store_locate(store, page & ~4095UL, &fd, &offset) < 0)
		return 1;
	if (pread(fd, contents, sizeof(contents), (off_t)offset) != (ssize_t)sizeof(contents))
		refuse("page %s cannot be read", address);
	return fwrite(contents, sizeof(contents), 1, stdout) == 1 ? 0 : EXIT_TOOL_FAILED;
}

static void print_crash(const char *directory, const struct store_status *status)
{
	static const char *const names[] = {"r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9",     "r8",
					    "rax", "rcx", "rdx", "rsi", "rdi", NULL,  "rip", NULL,  "eflags", "rsp"};
	struct crash_record record;
	char text[256], when[64] = "?";
	struct tm local;
	if (!crash_read(directory, &record))
		return;
	time_t seconds = record.note.realtime_ns / NS_PER_S;
	if (localtime_r(&seconds, &local) != NULL)
		strftime(when, sizeof(when), "%F %T", &local);
	crash_describe(&record, text, sizeof(text));
	printf("%s %s, %s\n", is_of_last_life(&record, status) ? "crash" : "crash of an earlier life", make_plain(text),
	       when);
	int printed = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] != NULL)
			printf("  %-6s 0x%016lx%s", names[i], (unsigned long)record.registers[i],
			       ++printed % 3 == 0 ? "\n" : "");
	print_backtrace(&record);
	crash_free(&record);
}

int command_inspect(int argc, char **argv)
{
	static const struct argp_option argp_options[] = {
		{"page", 'p', "ADDRESS", 0,
		 "Write the 4096 bytes of the page at ADDRESS to standard output; exit status 1 when it is not stored",
		 0},
		{0},
	};
	static const struct argp parser = {
		.options = argp_options,
		.parser = parse_show,
		.args_doc = "STORE",
		.doc = "Show what the checkpoint in a store holds, after checking all of it."};
	struct show_options options = {0};
	struct store_status status;
	parse_arguments(&parser, argc, argv, 0, &options);
	struct store *store = open_for_reading(options.directory);
	if (options.page != NULL)
		return print_page(store, options.page);
	if (rt_store_check(store) < 0)
		refuse("%s: %s", options.directory, rt_store_problem());
	rt_store_status(store, &status);
	printf("state %s, epoch %lu, %lu pages, all checksums right\n", state_name(status.state),
	       (unsigned long)status.epoch, (unsigned long)status.page_count);
	static struct engine_statistics statistics;
	printf("durability %s, %s persistent memory, tracking by %s\n",
	       status.durability == STORE_DURABILITY_POWER ? "power" : "process", status.is_pmem ? "on" : "not on",
	       read_statistics(options.directory, &statistics) && statistics.stops > 0
		       ? rt_track_name((enum rt_track_kind)statistics.track)
		       : "what is not known");
	print_crash(options.directory, &status);
	struct manifest_reader reader = {0};
	reader.bytes = rt_store_manifest(store, &reader.length);
	uint32_t kind, length;
	const void *payload;
	while (reader.bytes != NULL && rt_manifest_next(&reader, &kind, &payload, &length) == 1)
		print_record(store, kind, payload, length);
	rt_store_close(store);
	return 0;
}
