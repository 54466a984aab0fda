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
#include "tests/e2e/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/report.h"
#include "measure.h"
#include "outside.h"

#define MILLISECOND 1000000LL
#define SECOND (1000 * MILLISECOND)
#define TIMEOUT_NS (600 * SECOND) /* no step takes so long on a busy machine: a hang */
#define ORDINARY_USER 65534
#define SLOW_CHECKPOINT_NS (60 * SECOND) /* longer without one: the log says where the threads are */
#define EPISODES_KEPT 8                  /* of failed ones */
#define KEYS "100000"
#define REDIS_CLIENTS 5 /* redis-benchmark's and ours, from time to time */

static struct {
	int seconds, minimum_ms, maximum_ms;
	const char *workload, *record;
	uint64_t seed;
} options = {3600, 1000, 5000, "*", NULL, 0};

/* What an episode, a process of its own, tells the one that counts. */
static struct totals {
	int kills, episodes, failed, grown, skipped;
} * totals;

enum kind { VICTIM, MEMCACHED, REDIS };

/* `share` of the time, relative to the others. */
static const struct workload {
	const char *name;
	enum kind kind;
	int share;
} workloads[] = {
	{"memcached", MEMCACHED, 4}, {"redis_memory", REDIS, 4}, {"redis_append", REDIS, 4},
	{"hard", VICTIM, 2},         {"cpp", VICTIM, 1},         {"thread_churn", VICTIM, 1},
	{"mappings", VICTIM, 1},     {"malloc", VICTIM, 1},      {"file_overwrite", VICTIM, 1},
	{"file_rename", VICTIM, 1},  {"pipe", VICTIM, 1},        {"signals", VICTIM, 1},
	{"children", VICTIM, 1},
};

#define WORKLOADS (int)(sizeof(workloads) / sizeof(*workloads))

/* ---- one episode; all of this is in its process ---- */

static const struct workload *workload;
static bool verify;
static long user;
static char *name; /* workload and how it is run */
static char *work, *store, *program_directory, *load_directory, *port, *scale;
static FILE *log_file, *messages, *record;
static int error_pipe[2];
static uint64_t random_state, epoch;
static int64_t begin_ns, deadline_ns;
static pid_t client;
static struct sample *samples;
static int sample_count, kills, lines_said;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static double seconds_so_far(void)
{
	return (double)(now_ns() - begin_ns) / 1e9;
}

static void note(const char *format, ...)
{
	va_list arguments;

	child_drain(error_pipe[0], messages);
	fprintf(log_file, "[%8.3f] ", seconds_so_far());
	va_start(arguments, format);
	vfprintf(log_file, format, arguments);
	va_end(arguments);
	fputc('\n', log_file);
	fflush(log_file);
}

static void clean_up(void)
{
	children_kill();
	remove_tree(store);
	remove_tree(work);
}

static void fail(const char *format, ...)
{
	char reason[512], *directory = harness_failed_directory(format_text("soak/%s-%d", name, getpid()));
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	note("FAILED: %s", reason);
	children_report_threads(log_file);
	children_kill();
	child_drain(error_pipe[0], messages);
	if (totals->failed++ < EPISODES_KEPT) {
		copy_tree(work, directory);
		if (access(store, F_OK) == 0)
			copy_tree(store, directory);
	}
	printf("FAILED %s: %s; after %d kills, %.0f s, see %s/log\n", name, reason, kills, seconds_so_far(), directory);
	exit(1);
}

static void give_to_user(const char *path)
{
	if (user >= 0 && chown(path, (uid_t)user, (gid_t)user))
		refuse("chown %s: %s", path, strerror(errno));
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755))
		refuse("%s: %s", path, strerror(errno));
	give_to_user(path);
}

static void make_places(void)
{
	const char *base = getenv("TMPDIR");

	work = format_text("%s/respct-soak-XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(work))
		refuse("%s: %s", work, strerror(errno));
	give_to_user(work);
	store = access("/dev/shm", W_OK) ? format_text("%s/store", work)
					 : format_text("/dev/shm/%s-store", strrchr(work, '/') + 1);
	atexit(clean_up);
	program_directory = format_text("%s/directory", work);
	make_directory(program_directory);
	load_directory = format_text("%s/load", work);
	make_directory(load_directory);
	log_file = fopen(format_text("%s/log", work), "we");
	messages = fopen(format_text("%s/stderr", work), "we");
	if (!log_file || !messages || pipe2(error_pipe, O_CLOEXEC))
		refuse("%s: %s", work, strerror(errno));
}

/* ---- waiting ---- */

static int64_t watchdog(void)
{
	return now_ns() + TIMEOUT_NS;
}

/* A client that ends badly is the verdict. */
static void look_at_client(int64_t until_ns)
{
	int status;

	if (!client || !child_wait(client, until_ns, error_pipe[0], messages, &status))
		return;
	client = 0;
	if (status)
		fail("the client: %s", status_text(status));
}

/* True when the process ended before `until_ns`. */
static bool wait_until(pid_t process, int64_t until_ns, int *status)
{
	int64_t step_ns;

	do {
		step_ns = now_ns() + 50 * MILLISECOND;
		if (child_wait(process, step_ns < until_ns ? step_ns : until_ns, error_pipe[0], messages, status))
			return true;
		if (workload->kind == REDIS)
			look_at_client(0);
	} while (now_ns() < until_ns);
	return false;
}

/* ---- processes ---- */

static pid_t start(char *const *arguments, const char *directory, int output, long as_user, bool verified)
{
	static int input = -1;
	char *environment[] = {"RESPCT_VERIFY=1", NULL};

	if (input < 0)
		input = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct launch launch = {
		.arguments = arguments,
		.directory = directory,
		.input = input,
		.output = output < 0 ? error_pipe[1] : output,
		.error = error_pipe[1],
		.user = as_user,
		.environment = verified ? environment : NULL,
	};

	return child_start(&launch);
}

/* The port is below the range the kernel hands out, so that nobody else gets it between two lives. */
static void choose_port(void)
{
	char *arguments[] = {harness_build_path("tests/memcached_load"), "port", NULL};
	struct launch launch = {arguments, NULL, -1, -1, -1, -1, NULL};
	char text[16];

	if (child_run_and_read(&launch, text, sizeof(text)))
		fail("no free port");
	text[strcspn(text, "\n")] = '\0';
	port = format_text("%s", text);
}

/* Runs one command of memcached_load to its end. */
static void run_load(pid_t server, char *command, char *argument)
{
	bool wants_directory = strcmp(command, "wait") != 0;
	char *arguments[] = {harness_build_path("tests/memcached_load"), command,  port,
			     wants_directory ? load_directory : NULL,    argument, NULL};
	int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC), status;
	pid_t load = start(arguments, NULL, nothing, -1, false);
	int64_t deadline = watchdog();

	close(nothing);
	while (!child_wait(load, now_ns() + 50 * MILLISECOND, error_pipe[0], messages, &status)) {
		if (now_ns() > deadline)
			fail("hung: memcached_load %s", command);
		if (child_wait(server, 0, error_pipe[0], messages, &status))
			fail("the server ended: %s", status_text(status));
	}
	if (status)
		fail("memcached_load %s: %s", command, status_text(status));
}

static void start_client(void)
{
	char *memcached[] = {harness_build_path("tests/memcached_load"), "update", port, load_directory, NULL};
	char *redis[] = {"python3",
			 harness_build_path("tests/programs/redis.py"),
			 port,
			 workload->kind == REDIS ? strchr(workload->name, '_') + 1 : "",
			 format_text("%lld", (long long)((deadline_ns - now_ns()) / SECOND)),
			 NULL};
	int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);

	client = start(workload->kind == REDIS ? redis : memcached, program_directory, nothing,
		       workload->kind == REDIS ? user : -1, false);
	close(nothing);
}

/* Copies a list into one that stays. */
static char *const *keep_arguments(char *const *from)
{
	static char *arguments[40];
	int i = 0;

	do {
		arguments[i] = from[i];
	} while (from[i++]);
	return arguments;
}

static char *const *memcached_arguments(void)
{
	char *arguments[] = {"memcached",
			     "-l",
			     "127.0.0.1",
			     "-p",
			     port,
			     "-U",
			     "0",
			     "-m",
			     "1024",
			     "-M",
			     "-t",
			     "4",
			     getuid() == 0 && user < 0 ? "-u" : NULL,
			     "nobody",
			     NULL};

	return keep_arguments(arguments);
}

#define REDIS_ARGUMENTS                                                                                            \
	"redis-server", "--bind", "127.0.0.1", "--port", port, "--loglevel", "warning", "--logfile", "server.log", \
		"--save", ""

static char *const *redis_arguments(void)
{
	char *memory[] = {REDIS_ARGUMENTS, "--io-threads", "2", "--io-threads-do-reads", "yes", NULL};
	char *append[] = {REDIS_ARGUMENTS,
			  "--appendonly",
			  "yes",
			  "--appendfsync",
			  "everysec",
			  "--auto-aof-rewrite-percentage",
			  "0",
			  NULL};

	return keep_arguments(strcmp(workload->name, "redis_append") == 0 ? append : memory);
}

/* What comes after `respct run --store DIR --quiet --`. */
static char *const *program_arguments(void)
{
	char *victim[] = {harness_build_path(format_text("tests/victims/%s", workload->name)), scale, NULL};

	return workload->kind == VICTIM      ? keep_arguments(victim)
	       : workload->kind == MEMCACHED ? memcached_arguments()
					     : redis_arguments();
}

static pid_t start_first_life(int output)
{
	char *arguments[64] = {harness_build_path("respct"), "run", "--store", store, "--quiet", "--"};
	char *const *program = program_arguments();
	int i;

	for (i = 0; program[i]; i++)
		arguments[6 + i] = program[i];
	return start(arguments, program_directory, output, user, verify);
}

static pid_t start_restored_life(void)
{
	note("restored");
	char *arguments[] = {harness_build_path("respct-restore"), store, NULL};

	return start(arguments, program_directory, -1, user, verify);
}

/* ---- a life ---- */

static struct store_view view_store(void)
{
	struct store_view view;

	if (!harness_store_view(store, user, &view))
		memset(&view, 0, sizeof(view));
	return view;
}

/* Waits until this life has committed a checkpoint and the store names it. 0 when it ended first. */
static pid_t wait_for_progress(pid_t process, int *status)
{
	int64_t deadline = watchdog(), suspicious = now_ns() + SLOW_CHECKPOINT_NS;
	pid_t pid;

	while (view_store().epoch <= epoch || !(pid = store_process(store))) {
		if (wait_until(process, now_ns() + 10 * MILLISECOND, status))
			return 0;
		if (now_ns() > suspicious) {
			note("no new checkpoint for %lld ms:", SLOW_CHECKPOINT_NS / MILLISECOND);
			children_report_states(log_file);
			suspicious = INT64_MAX;
			deadline = watchdog();
		}
		if (now_ns() > deadline)
			fail("hung: no new checkpoint");
	}
	return pid;
}

static void keep_sample(pid_t pid)
{
	struct store_view view = view_store();
	struct sample sample;
	int i;

	if (!measure_take(pid, store, view.pages, &sample))
		return;
	/* Lives are compared with lives: the first one of a program was not restored. */
	if (epoch > 0) {
		samples = realloc(samples, (size_t)(sample_count + 1) * sizeof(*samples));
		if (!samples)
			refuse("out of memory");
		samples[sample_count++] = sample;
	}
	fprintf(record, "%.3f\t%s\t%d\t%llu", (double)time(NULL), name, kills, (unsigned long long)view.epoch);
	for (i = 0; i < MEASURES; i++)
		fprintf(record, "\t%lld", (long long)sample.value[i]);
	fputc('\n', record);
	fflush(record);
}

static int64_t random_ns(void)
{
	int64_t span = (options.maximum_ms - options.minimum_ms) * MILLISECOND;

	return options.minimum_ms * MILLISECOND +
	       (span > 0 ? (int64_t)(random_next(&random_state) % (uint64_t)span) : 0);
}

/* True when the process was killed; false when it had ended by itself, *status set. */
static bool kill_process(pid_t process, pid_t pid, int *status)
{
	struct store_view view;

	kill(pid, SIGKILL);
	if (!wait_until(process, watchdog(), status))
		fail("process %d ran on after SIGKILL to %d, the number in the store", process, pid);
	view = view_store();
	if (!strcmp(view.state, "ended")) {
		note("the kill came when the program had called exit()");
		*status = 0;
		return false;
	}
	if (!WIFSIGNALED(*status) || WTERMSIG(*status) != SIGKILL)
		return false;
	epoch = view.epoch;
	measure_reap_orphans(client);
	note("killed %d, epoch %llu", pid, (unsigned long long)epoch);
	return true;
}

/* From a start or a restore to the next kill. False when the program ended by itself, *status set. */
static bool live_until_killed(pid_t process, int *status)
{
	int64_t instant = now_ns() + random_ns();
	pid_t pid = wait_for_progress(process, status);

	if (!pid)
		return false;
	note("new checkpoint");
	if (wait_until(process, instant, status))
		return false;
	keep_sample(pid);
	return kill_process(process, pid, status);
}

/* What the README says of large files without a name and of slow devices, which Redis meets with its
 * append-only file: another thread closes the files that were removed, and writes the others through to the
 * disk. */
static bool may_be_said(const char *line)
{
	return workload->kind == REDIS &&
	       (strstr(line, "(deleted)) cannot be restored: a file without a name, more than 1 MiB") ||
		strstr(line, "(deleted)) is not restored: it could not be captured") ||
		strstr(line, "cannot be stopped (it blocks all signals, or waits for a device"));
}

static void expect_nothing_said(void)
{
	static long looked_at;
	char line[1024];
	FILE *file;

	child_drain(error_pipe[0], messages);
	fflush(messages);
	file = fopen(format_text("%s/stderr", work), "re");
	if (!file || fseek(file, looked_at, SEEK_SET))
		refuse("%s/stderr: %s", work, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (!may_be_said(line))
			fail("said on stderr: %.300s", line);
		lines_said++;
	}
	looked_at = ftell(file);
	fclose(file);
}

static void survived(void)
{
	kills++;
	totals->kills++;
	expect_nothing_said();
}

/* ---- servers ---- */

static void stop_server(pid_t server)
{
	pid_t pid;
	int status;

	pid = wait_for_progress(server, &status);
	if (!pid)
		fail("the server ended: %s", status_text(status));
	kill(pid, SIGTERM);
	if (!wait_until(server, watchdog(), &status))
		fail("hung: ending after SIGTERM");
	if (status)
		fail("after SIGTERM: %s", status_text(status));
}

static void soak_memcached(void)
{
	pid_t server = start_first_life(-1);
	int64_t commit_time_ns;
	int status;

	run_load(server, "wait", NULL);
	run_load(server, "fill", KEYS);
	while (now_ns() < deadline_ns) {
		start_client();
		if (!live_until_killed(server, &status))
			fail("memcached ended: %s", status_text(status));
		look_at_client(watchdog());
		if (client)
			fail("hung: memcached_load update");
		commit_time_ns = view_store().commit_time_ns;
		server = start_restored_life();
		run_load(server, "wait", NULL);
		run_load(server, "check", format_text("%lld", (long long)commit_time_ns));
		survived();
	}
	stop_server(server);
}

/* The client decides when it is over: it stops the server. */
static void soak_redis(void)
{
	pid_t server = start_first_life(-1);
	int status;
	bool killed = true;

	start_client();
	while (killed && now_ns() < deadline_ns) {
		killed = live_until_killed(server, &status);
		if (!killed)
			break;
		server = start_restored_life();
		survived();
	}
	if (killed && !wait_until(server, watchdog(), &status))
		fail("hung: the server does not end");
	if (status)
		fail("redis-server: %s", status_text(status));
	look_at_client(watchdog());
	if (client)
		fail("hung: the client, after the server had ended");
}

/* ---- victims ---- */

static int open_output(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		refuse("%s: %s", path, strerror(errno));
	give_to_user(path);
	return fd;
}

static void new_program_directory(void)
{
	remove_tree(program_directory);
	make_directory(program_directory);
}

static void __attribute__((noreturn)) skip(void)
{
	printf("skipped %s: it cannot run here\n", name);
	exit(77);
}

/* Runs the victim without respct; how long it took. */
static int64_t run_undisturbed(const char *output_path)
{
	char *const *arguments = program_arguments();
	int64_t started = now_ns();
	int output = open_output(output_path), status;
	pid_t victim;

	new_program_directory();
	victim = start(arguments, program_directory, output, user, false);
	close(output);
	/* Too busy a machine for it, or the wrong one. */
	if (!wait_until(victim, watchdog(), &status) || (WIFEXITED(status) && WEXITSTATUS(status) == 77))
		skip();
	if (status)
		fail("undisturbed: %s", status_text(status));
	return now_ns() - started;
}

static bool files_equal(const char *a, const char *b)
{
	char *arguments[] = {"cmp", "-s", (char *)a, (char *)b, NULL};
	struct launch launch = {arguments, NULL, -1, -1, -1, -1, NULL};

	return child_run(&launch) == 0;
}

/* The victim from start to end, killed all the time. */
static void run_killed(const char *expected)
{
	char *output_path = format_text("%s/output", work);
	int output = open_output(output_path), status;
	bool killed;
	pid_t victim;

	remove_tree(store);
	new_program_directory();
	epoch = 0;
	victim = start_first_life(output);
	close(output);
	for (;;) {
		killed = live_until_killed(victim, &status);
		if (!killed)
			break;
		victim = start_restored_life();
		survived();
	}
	if (status)
		fail("%s", status_text(status));
	if (!files_equal(expected, output_path))
		fail("the output differs from that of the undisturbed run");
}

/* One run of the victim takes about a sixth of the episode undisturbed; killed and restored, it takes longer.
 */
static void soak_victim(void)
{
	char *expected = format_text("%s/expected", work);
	int64_t wanted = (deadline_ns - now_ns()) / 6, took;

	scale = "100";
	took = run_undisturbed(expected);
	if (took < wanted) {
		scale = format_text("%lld", (long long)(100 * wanted / took));
		took = run_undisturbed(expected);
	}
	note("undisturbed %lld ms, scale %s", (long long)(took / MILLISECOND), scale);
	do {
		run_killed(expected);
	} while (now_ns() < deadline_ns);
}

/* ---- an episode ---- */

static void judge_growth(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *stream = open_memstream(&text, &length);
	int grown = measure_growth(samples, sample_count, workload->kind == REDIS ? REDIS_CLIENTS : 0, stream);

	fclose(stream);
	if (grown > 0)
		printf("%s: %s", name, text);
	totals->grown += grown;
	free(text);
}

static void print_summary(void)
{
	static const enum measure shown[] = {IMAGE_RSS, AREA_ANONYMOUS, DESCRIPTORS, STORE_ALLOCATED};
	size_t i;

	printf("ok %s (%d kills, %.0f s", name, kills, seconds_so_far());
	for (i = 0; sample_count > 0 && i < sizeof(shown) / sizeof(*shown); i++)
		printf(", %s %lld..%lld", measure_name(shown[i]),
		       (long long)measure_typical(samples, sample_count, shown[i], 0),
		       (long long)measure_typical(samples, sample_count, shown[i], 2));
	printf(", %d lines on stderr)\n", lines_said);
}

static void run_episode(void)
{
	static struct outside before;
	char *left;

	setpgid(0, 0); /* so that Ctrl-C comes to the parent alone, which tells us */
	harness_begin();
	begin_ns = now_ns();
	make_places();
	outside_keep_apart();
	outside_look(program_directory, &before);
	choose_port();
	note("seed %llu, port %s", (unsigned long long)options.seed, port);
	if (workload->kind == VICTIM)
		soak_victim();
	else if (workload->kind == MEMCACHED)
		soak_memcached();
	else
		soak_redis();
	expect_nothing_said();
	left = outside_difference(program_directory, &before);
	if (left)
		fail("left behind: %s", left);
	print_summary();
	judge_growth();
	exit(0);
}

/* ---- all of them ---- */

static volatile sig_atomic_t interrupted;
static volatile pid_t episode;

static void interrupt(int number)
{
	interrupted = number;
	if (episode > 0)
		kill(episode, SIGTERM);
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
	case 's': options.seed = strtoull(optarg, NULL, 0); break;
	case 'a': options.minimum_ms = atoi(optarg); break;
	case 'b': options.maximum_ms = atoi(optarg); break;
	default: refuse("usage: soak [options], see soak.c");
	}
}

static void open_record(void)
{
	int i;

	if (!options.record)
		options.record = harness_build_path(format_text("soak/%lld.tsv", (long long)time(NULL)));
	record = fopen(options.record, "we");
	if (!record)
		refuse("%s: %s", options.record, strerror(errno));
	fprintf(record, "time\tworkload\tkills\tepoch");
	for (i = 0; i < MEASURES; i++)
		fprintf(record, "\t%s", measure_name(i));
	fputc('\n', record);
	fflush(record);
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

	workload = &workloads[number];
	verify = variant % 2;
	user = variant >= 2 ? ORDINARY_USER : -1;
	name = format_text("%s%s%s", workload->name, user >= 0 ? "+user" : "", verify ? "+verify" : "");
	random_state = options.seed + (uint64_t)number * 4 + (uint64_t)variant;
	deadline_ns = end_ns;
	fflush(stdout);
	totals->episodes++;
	episode = fork();
	if (episode < 0)
		refuse("fork: %s", strerror(errno));
	if (episode == 0)
		run_episode();
	while (waitpid(episode, &status, 0) < 0 && errno == EINTR)
		;
	episode = 0;
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
	options.seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1)
		take_option(option);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		refuse("out of memory");
	begin_ns = now_ns();
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
