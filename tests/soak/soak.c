/*
 * Keeps programs under respct for a long time, under load, killed every few seconds.
 *
 *   soak [--seconds N] [--workload PATTERN] [--record FILE] [--seed S] [--min-ms A --max-ms B]
 *
 * The time (3600 s) is shared out to episodes: memcached, Redis (in memory; append-only file) and the
 * hardest victims, each without and with RESPCT_VERIFY=1 and, when run by root, as root and as an
 * ordinary user. In an episode one process is killed every few seconds (1 .. 5), restored, and checked by its
 * client; a victim's output must be that of an undisturbed run of the same work. Just before each kill a
 * line goes to the record (tab-separated, the first line says what the columns are): what the process and its
 * store occupy. At the end of an episode nothing may have grown (see measure.h), no process, temporary file,
 * mount or System V segment may be left, and nothing may have been said on stderr.
 *
 * One line for each episode, then one of counts. Exit status: 0 when nothing failed and nothing grew, 1 when
 * something did, 130 when interrupted (after cleaning up). What a failed episode left is kept in
 * $RESPCT_FAILED/soak (BUILD/tests/failed/soak).
 */
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/report.h"
#include "episode.h"
#include "outside.h"

#define ORDINARY_USER 65534
#define REDIS_CLIENTS 5 /* redis-benchmark's and ours, from time to time */

static struct {
	int seconds;
	const char *workload, *record;
} options = {3600, "*", NULL};

static const struct workload workloads[] = {
	{"memcached", MEMCACHED, 4}, {"redis_memory", REDIS, 4}, {"redis_append", REDIS, 4},
	{"hard", VICTIM, 2},         {"cpp", VICTIM, 1},         {"thread_churn", VICTIM, 1},
	{"mappings", VICTIM, 1},     {"malloc", VICTIM, 1},      {"file_overwrite", VICTIM, 1},
	{"file_rename", VICTIM, 1},  {"pipe", VICTIM, 1},        {"signals", VICTIM, 1},
	{"children", VICTIM, 1},
};

#define WORKLOADS (int)(sizeof(workloads) / sizeof(*workloads))

/* ---- an episode ---- */

static void judge_growth(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);
	int grown = measure_growth(episode.samples, episode.sample_count,
				   episode.workload->kind == REDIS ? REDIS_CLIENTS : 0, stream);

	fclose(stream);
	if (grown > 0)
		printf("%s: %s", episode.name, text);
	totals->grown += grown;
	free(text);
}

static void print_summary(void)
{
	static const enum measure shown[] = {IMAGE_RSS, AREA_ANONYMOUS, DESCRIPTORS, STORE_ALLOCATED};
	size_t i;

	printf("ok %s (%d kills, %.0f s", episode.name, episode.kills, seconds_so_far());
	for (i = 0; episode.sample_count > 0 && i < sizeof(shown) / sizeof(*shown); i++)
		printf(", %s %lld..%lld", measure_name(shown[i]),
		       (long long)measure_typical(episode.samples, episode.sample_count, shown[i], 0),
		       (long long)measure_typical(episode.samples, episode.sample_count, shown[i], 2));
	printf(", %d lines on stderr)\n", episode.lines_said);
}

static void run_episode(void)
{
	static struct outside before;
	char *left;

	setpgid(0, 0); /* so that Ctrl-C comes to the parent alone, which tells us */
	harness_begin();
	episode.begin_ns = now_ns();
	make_places();
	outside_keep_apart();
	outside_look(episode.program_directory, &before);
	choose_port();
	note("seed %llu, port %s", (unsigned long long)episode.seed, episode.port);
	if (episode.workload->kind == VICTIM)
		soak_victim();
	else if (episode.workload->kind == MEMCACHED)
		soak_memcached();
	else
		soak_redis();
	expect_nothing_said();
	left = outside_difference(episode.program_directory, &before);
	if (left)
		fail("left behind: %s", left);
	print_summary();
	judge_growth();
	exit(0);
}

/* ---- all of them ---- */

static volatile sig_atomic_t interrupted;
static volatile pid_t running;

static void interrupt(int number)
{
	interrupted = number;
	if (running > 0)
		kill(running, SIGTERM);
}

static const struct option long_options[] = {
	{"seconds", required_argument, NULL, 't'},
	{"workload", required_argument, NULL, 'w'},
	{"record", required_argument, NULL, 'r'},
	{"seed", required_argument, NULL, 's'},
	{"min-ms", required_argument, NULL, 'a'},
	{"max-ms", required_argument, NULL, 'b'},
	{NULL, 0, NULL, 0},
};

static void take_option(int option)
{
	switch (option) {
	case 't': options.seconds = atoi(optarg); break;
	case 'w': options.workload = optarg; break;
	case 'r': options.record = optarg; break;
	case 's': episode.seed = strtoull(optarg, NULL, 0); break;
	case 'a': episode.minimum_ms = atoi(optarg); break;
	case 'b': episode.maximum_ms = atoi(optarg); break;
	default: refuse("usage: soak [options], see soak.c");
	}
}

static void open_record(void)
{
	int i;

	if (!options.record)
		options.record = harness_build_path(format_text("soak/%lld.tsv", (long long)time(NULL)));
	episode.record = fopen(options.record, "we");
	if (!episode.record)
		refuse("%s: %s", options.record, strerror(errno));
	fprintf(episode.record, "time\tworkload\tkills\tepoch");
	for (i = 0; i < MEASURES; i++)
		fprintf(episode.record, "\t%s", measure_name(i));
	fputc('\n', episode.record);
	fflush(episode.record);
}

static bool chosen(int number)
{
	return !fnmatch(options.workload, workloads[number].name, FNM_EXTMATCH);
}

static int share_of_all(void)
{
	int sum = 0, i;

	for (i = 0; i < WORKLOADS; i++)
		sum += chosen(i) ? workloads[i].share : 0;
	return sum;
}

/* Runs one workload in one of the ways, until `end_ns`. */
static void run_one(int number, int variant, int64_t end_ns)
{
	int status;

	episode.workload = &workloads[number];
	episode.verify = variant % 2;
	episode.user = variant >= 2 ? ORDINARY_USER : -1;
	episode.name = format_text("%s%s%s", episode.workload->name, episode.user >= 0 ? "+user" : "",
				   episode.verify ? "+verify" : "");
	episode.random_state = episode.seed + (uint64_t)number * 4 + (uint64_t)variant;
	episode.deadline_ns = end_ns;
	fflush(stdout);
	totals->episodes++;
	running = fork();
	if (running < 0)
		refuse("fork: %s", strerror(errno));
	if (running == 0)
		run_episode();
	while (waitpid(running, &status, 0) < 0 && errno == EINTR)
		;
	running = 0;
	if (interrupted)
		return;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		totals->skipped++;
	else if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) /* 1: has counted itself */
		totals->failed++;
}

static void run_all(void)
{
	int variants = getuid() == 0 ? 4 : 2, shares = share_of_all(), variant, i;
	int64_t end_ns = now_ns(), unit_ns;

	if (!shares)
		refuse("soak: no workload is called %s", options.workload);
	unit_ns = options.seconds * SECOND / (shares * variants);
	for (variant = 0; variant < variants; variant++) {
		for (i = 0; i < WORKLOADS && !interrupted; i++) {
			if (!chosen(i))
				continue;
			/* Who took longer than its share does so at the cost of the next one. */
			end_ns += workloads[i].share * unit_ns;
			run_one(i, variant, end_ns);
		}
	}
}

int main(int count, char **arguments)
{
	struct sigaction action = {.sa_handler = interrupt};
	bool good;
	int option;

	harness_begin();
	episode.seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1)
		take_option(option);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		refuse("out of memory");
	episode.begin_ns = now_ns();
	open_record();
	run_all();
	good = !interrupted && !totals->failed && !totals->grown && totals->kills > 0;
	printf("%s soak (%.0f s, %d kills survived, %d episodes, %d failed, %d skipped, %d grew; record "
	       "%s)\n",
	       good          ? "ok"
	       : interrupted ? "interrupted"
			     : "FAILED",
	       seconds_so_far(), totals->kills, totals->episodes, totals->failed, totals->skipped, totals->grown,
	       options.record);
	return interrupted ? 130 : !good;
}
