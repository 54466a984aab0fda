/*
 * Runs the property test in a place of its own: property_runner [--seed S] [--steps N] [--verify]
 * [--user UID] [--name NAME]. Verification is always on. The checkpoints are those the program asks
 * for, no others, so that the store is at rest while it is read.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/report.h"

#define TIMEOUT_NS (300 * 1000000000LL)

static struct {
	const char *seed, *steps, *name;
	long user;
} options = {"1", "3000", "property", -1};

static char *work, *store;
static FILE *log_file;

static const struct option long_options[] = {
	{"seed", required_argument, NULL, 's'}, {"steps", required_argument, NULL, 'n'},
	{"verify", no_argument, NULL, 'v'},     {"user", required_argument, NULL, 'u'},
	{"name", required_argument, NULL, 'm'}, {NULL, 0, NULL, 0},
};

static void parse_options(int count, char **arguments)
{
	int option;

	while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1) {
		switch (option) {
		case 's': options.seed = optarg; break;
		case 'n': options.steps = optarg; break;
		case 'u': options.user = atol(optarg); break;
		case 'm': options.name = optarg; break;
		case 'v': break;
		default: refuse("usage: property_runner [options], see property_runner.c");
		}
	}
}

static void clean_up(void)
{
	children_kill();
	remove_tree(store);
	remove_tree(work);
}

static void make_places(void)
{
	const char *base = getenv("TMPDIR");

	work = format_text("%s/respct-test-XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(work))
		refuse("%s: %s", work, strerror(errno));
	if (options.user >= 0 && chown(work, (uid_t)options.user, (gid_t)options.user))
		refuse("%s: %s", work, strerror(errno));
	store = access("/dev/shm", W_OK) ? format_text("%s/store", work)
					 : format_text("/dev/shm/%s-store", strrchr(work, '/') + 1);
	log_file = fopen(format_text("%s/log", work), "w+e");
	if (!log_file)
		refuse("%s/log: %s", work, strerror(errno));
	atexit(clean_up);
}

static void __attribute__((noreturn)) fail(const char *reason)
{
	char *directory = harness_failed_directory(options.name);
	char line[512], last[512] = "";

	children_report_threads(log_file);
	children_kill();
	rewind(log_file);
	while (fgets(line, sizeof(line), log_file))
		if (strstr(line, "step ") || strstr(line, "verify:"))
			snprintf(last, sizeof(last), "%s", line);
	last[strcspn(last, "\n")] = '\0';
	remove_tree(directory);
	copy_tree(work, directory);
	copy_tree(store, directory);
	printf("FAILED %s: %s; %s; --seed %s, see %s/log\n", options.name, reason, last, options.seed, directory);
	exit(1);
}

int main(int count, char **arguments)
{
	int64_t started = now_ns();
	struct launch launch;
	pid_t child;
	int status;

	harness_begin();
	parse_options(count, arguments);
	make_places();
	char *command[] = {harness_build_path("respct"),
			   "run",
			   "--store",
			   store,
			   "--interval",
			   "3600000",
			   "--",
			   harness_build_path("tests/property"),
			   store,
			   harness_build_path("tests/property_check"),
			   (char *)options.seed,
			   (char *)options.steps,
			   NULL};
	char *environment[] = {"RESPCT_VERIFY=1", NULL};
	launch = (struct launch){command, work, -1, fileno(log_file), fileno(log_file), options.user, environment};
	child = child_start(&launch);
	if (!child_wait(child, started + TIMEOUT_NS, -1, log_file, &status))
		fail("hung");
	if (status)
		fail(status_text(status));
	printf("ok %s (seed %s, %s steps, %.1f s)\n", options.name, options.seed, options.steps,
	       (double)(now_ns() - started) / 1e9);
	return 0;
}
