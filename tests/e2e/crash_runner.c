/*
 * Runs a program under respct, kills it again and again, and checks that it cannot tell.
 *
 *   crash_runner [options] -- PROGRAM [ARG...]
 *
 * The program runs once undisturbed; its standard output and exit status are what is expected.
 * Then it runs under `respct run`, is killed with SIGKILL at random instants, restored each time
 * with `respct-restore`, and left to finish. Output and status must be the expected ones.
 *
 *   --kills N        kills wanted (5); with fewer than 5, or than N if that is less, it is run again
 *   --early-kills N  further kills soon after a restore, before it commits anything new (1)
 *   --seed S         for the random instants; a failure prints it
 *   --min-ms A, --max-ms B   when to kill, after a start (25 .. 2/3 of an even share of the time, 200)
 *   --store DIR      where the store goes (a new directory in /dev/shm)
 *   --interval MS    passed to respct run
 *   --verify         RESPCT_VERIFY=1 in the program's environment
 *   --user UID       run program and tools as this user and group (only root can)
 *   --expect FILE    keeps the undisturbed result in FILE, FILE.status between runs
 *   --name NAME      what to call this test (the program's name)
 *   --client COMMAND a shell command that runs beside the program from its first life to its end, in the same
 *                    directory: it uses a server, connects again after each restore, checks what it gets,
 *                    stops the server, and must end with 0; $store in it is the store
 *   --timeout S      a life longer than this is a hang (120)
 *
 * Exit status: 0 as expected, 1 not, 77 the program cannot run here (it said 77 undisturbed).
 * The last line on stdout is "ok NAME (...)", "FAILED NAME: why" or "skipped NAME: why". What a
 * failed run left is kept in $RESPCT_FAILED/NAME (BUILD/tests/failed/NAME).
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/report.h"

#define MILLISECOND 1000000LL
#define SECOND 1000000000LL
#define SLOW_CHECKPOINT_NS (1500 * MILLISECOND) /* longer without one: say where the threads are */
#define KILL_PATIENCE_NS (10 * SECOND) /* until a killed process is gone, on a busy machine */
#define EXIT_SKIPPED 77
#define KILLS_REQUIRED 5
#define RUNS_MAXIMUM 5

struct options {
	int kills, early_kills;
	int minimum_ms, maximum_ms;
	int timeout_s;
	uint64_t seed;
	const char *store, *interval, *expect, *name, *client;
	bool verify;
	long user;
	char **program;
};

/* The undisturbed result. */
struct expectation {
	int status; /* wait status */
	int duration_ms;
	char *output_path;
};

static struct options options = {
	.kills = KILLS_REQUIRED,
	.early_kills = 1,
	.minimum_ms = 25,
	.timeout_s = 120,
	.user = -1,
};

static char *work;  /* directory removed at the end: output, log, the program's directory */
static char *store; /* likewise */
static char *program_directory;
static FILE *log_file;
static int error_pipe[2]; /* every life's stderr, read into the log */
static pid_t client; /* 0: none, or it has ended well */
static int kills_done, early_kills_done;
static bool killed_in_exit; /* the last kill hit a program that had ended its work */
static uint64_t random_state;
static int64_t begin_ns;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static double seconds_so_far(void)
{
	return (double)(now_ns() - begin_ns) / 1e9;
}

static void note(const char *format, ...)
{
	va_list arguments;

	child_drain(error_pipe[0], log_file);
	fprintf(log_file, "[%7.3f] ", seconds_so_far());
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

static void keep_the_evidence(const char *directory)
{
	children_kill();
	child_drain(error_pipe[0], log_file);
	remove_tree(directory);
	copy_tree(work, directory);
	if (strncmp(store, work, strlen(work)))
		copy_tree(store, directory);
}

static void fail(const char *format, ...)
{
	char reason[512], *directory;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	note("FAILED: %s", reason);
	directory = harness_failed_directory(options.name);
	keep_the_evidence(directory);
	printf("FAILED %s: %s; %d+%d kills, --seed %llu, see %s/log\n", options.name, reason, kills_done,
	       early_kills_done, (unsigned long long)options.seed, directory);
	exit(1);
}

/* ---- options ---- */

enum { OPTION_EARLY = 256, OPTION_CLIENT };

static const struct option long_options[] = {
	{"kills", required_argument, NULL, 'k'},    {"early-kills", required_argument, NULL, OPTION_EARLY},
	{"seed", required_argument, NULL, 's'},     {"store", required_argument, NULL, 'd'},
	{"interval", required_argument, NULL, 'i'}, {"verify", no_argument, NULL, 'v'},
	{"min-ms", required_argument, NULL, 'a'},   {"max-ms", required_argument, NULL, 'b'},
	{"expect", required_argument, NULL, 'e'},   {"user", required_argument, NULL, 'u'},
	{"name", required_argument, NULL, 'n'},     {"timeout", required_argument, NULL, 't'},
	{"client", required_argument, NULL, OPTION_CLIENT},
	{NULL, 0, NULL, 0},
};

static void take_option(int option)
{
	switch (option) {
	case 'k': options.kills = atoi(optarg); break;
	case OPTION_EARLY: options.early_kills = atoi(optarg); break;
	case OPTION_CLIENT: options.client = optarg; break;
	case 's': options.seed = strtoull(optarg, NULL, 0); break;
	case 'd': options.store = optarg; break;
	case 'i': options.interval = optarg; break;
	case 'v': options.verify = true; break;
	case 'a': options.minimum_ms = atoi(optarg); break;
	case 'b': options.maximum_ms = atoi(optarg); break;
	case 'e': options.expect = optarg; break;
	case 'u': options.user = atol(optarg); break;
	case 'n': options.name = optarg; break;
	case 't': options.timeout_s = atoi(optarg); break;
	default: refuse("usage: crash_runner [options] -- PROGRAM [ARG...], see crash_runner.c");
	}
}

static void parse_options(int count, char **arguments)
{
	int option;

	options.seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	while ((option = getopt_long(count, arguments, "+", long_options, NULL)) != -1)
		take_option(option);
	if (optind >= count)
		refuse("usage: crash_runner [options] -- PROGRAM [ARG...], see crash_runner.c");
	options.program = arguments + optind;
	if (strchr(options.program[0], '/') && !(options.program[0] = realpath(options.program[0], NULL)))
		refuse("%s: %s", arguments[optind], strerror(errno));
	if (!options.name)
		options.name = basename(strdup(options.program[0]));
	random_state = options.seed;
}

/* ---- places ---- */

static char *work_path(const char *name)
{
	return format_text("%s/%s", work, name);
}

static void give_to_user(const char *path)
{
	if (options.user >= 0 && chown(path, (uid_t)options.user, (gid_t)options.user))
		refuse("chown %s: %s", path, strerror(errno));
}

/* The work directory is on a disk, so that programs meet real files; the store in memory. */
static void make_places(void)
{
	const char *base = getenv("TMPDIR");

	work = format_text("%s/respct-test-XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(work))
		refuse("%s: %s", work, strerror(errno));
	give_to_user(work);
	program_directory = format_text("%s/directory", work);
	if (options.store)
		store = format_text("%s", options.store);
	else if (!access("/dev/shm", W_OK))
		store = format_text("/dev/shm/%s-store", strrchr(work, '/') + 1);
	else
		store = format_text("%s/store", work);
	log_file = fopen(work_path("log"), "we");
	if (!log_file || pipe2(error_pipe, O_CLOEXEC))
		refuse("%s/log: %s", work, strerror(errno));
	atexit(clean_up);
}

static void make_program_directory(void)
{
	remove_tree(program_directory);
	if (mkdir(program_directory, 0755))
		refuse("%s: %s", program_directory, strerror(errno));
	give_to_user(program_directory);
}

static int open_output(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		refuse("%s: %s", path, strerror(errno));
	give_to_user(path);
	return fd;
}

/* ---- one process ---- */

static pid_t start(char *const *arguments, int output, bool verify)
{
	static int input = -1;

	if (input < 0)
		input = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char *environment[] = {"RESPCT_VERIFY=1", NULL};
	struct launch launch = {arguments, program_directory, input, output, error_pipe[1], options.user,
				verify ? environment : NULL};

	return child_start(&launch);
}

static int64_t watchdog(void)
{
	return now_ns() + options.timeout_s * 1000 * MILLISECOND;
}

static void __attribute__((noreturn)) fail_hung(const char *what)
{
	note("watchdog: %s took longer than %d s", what, options.timeout_s);
	children_report_threads(log_file);
	fail("hung: %s", what);
}

/* ---- the client ---- */

static void start_client(void)
{
	char *command = options.client ? format_text("store='%s'; %s", store, options.client) : NULL;
	char *arguments[] = {"sh", "-c", command, NULL};

	if (options.client)
		client = start(arguments, error_pipe[1], false);
}

/* Waits for the client until the deadline; one that ends badly is the verdict. */
static void wait_for_client(int64_t deadline_ns)
{
	int status;

	if (!client || !child_wait(client, deadline_ns, error_pipe[0], log_file, &status))
		return;
	client = 0;
	if (status)
		fail("the client: %s", status_text(status));
}

static void finish_client(void)
{
	wait_for_client(watchdog());
	if (client)
		fail_hung("the client, after the program had ended");
}

/* True when the program `child` ended before the deadline, *status set. */
static bool wait_until(pid_t child, int64_t deadline_ns, int *status)
{
	int64_t step_ns;

	do {
		step_ns = client ? now_ns() + 50 * MILLISECOND : deadline_ns;
		if (child_wait(child, step_ns < deadline_ns ? step_ns : deadline_ns, error_pipe[0], log_file, status))
			return true;
		wait_for_client(0);
	} while (now_ns() < deadline_ns);
	return false;
}

/* ---- the undisturbed run ---- */

static bool read_cached(struct expectation *expectation)
{
	FILE *file;
	int fields;

	if (!options.expect)
		return false;
	file = fopen(format_text("%s.status", options.expect), "re");
	if (!file)
		return false;
	fields = fscanf(file, "%d %d", &expectation->status, &expectation->duration_ms);
	fclose(file);
	expectation->output_path = (char *)options.expect;
	return fields == 2 && !access(options.expect, R_OK);
}

static void rename_or_die(const char *from, const char *to)
{
	if (rename(from, to))
		refuse("%s: %s", to, strerror(errno));
}

/* The status is renamed into place last: who sees it, sees a whole output too. */
static void write_cache(const struct expectation *expectation)
{
	char *temporary;
	FILE *file;

	if (!options.expect)
		return;
	temporary = format_text("%s.%d", options.expect, getpid());
	copy_tree(expectation->output_path, temporary);
	rename_or_die(temporary, options.expect);
	file = fopen(temporary, "we");
	if (!file)
		refuse("%s: %s", temporary, strerror(errno));
	fprintf(file, "%d %d\n", expectation->status, expectation->duration_ms);
	fclose(file);
	rename_or_die(temporary, format_text("%s.status", options.expect));
}

static void check_undisturbed_status(int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
		printf("skipped %s: cannot run here\n", options.name);
		exit(EXIT_SKIPPED);
	}
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 127))
		fail("the undisturbed run failed: %s", status_text(status));
}

static void run_undisturbed(struct expectation *expectation)
{
	int64_t started = now_ns();
	int output, status;
	pid_t child;

	if (read_cached(expectation))
		return;
	expectation->output_path = work_path("expected");
	make_program_directory();
	output = open_output(expectation->output_path);
	child = start(options.program, output, false);
	close(output);
	start_client();
	if (!wait_until(child, watchdog(), &status))
		fail_hung("the undisturbed run");
	finish_client();
	expectation->status = status;
	expectation->duration_ms = (int)((now_ns() - started) / MILLISECOND);
	check_undisturbed_status(status);
	note("undisturbed: %s after %d ms", status_text(status), expectation->duration_ms);
	write_cache(expectation);
}

/* ---- lives under respct ---- */

static pid_t start_first_life(const char *output_path)
{
	char *arguments[64] = {harness_build_path("respct"), "run", "--store", store};
	int next = 4, i, output;
	pid_t child;

	if (options.interval) {
		arguments[next++] = "--interval";
		arguments[next++] = (char *)options.interval;
	}
	arguments[next++] = "--";
	for (i = 0; options.program[i] && next < 63; i++)
		arguments[next++] = options.program[i];
	arguments[next] = NULL;
	output = open_output(output_path);
	child = start(arguments, output, options.verify);
	close(output);
	return child;
}

/* The program's own stdout is a file in the image, so whatever the restorer has as stdout is unused. */
static pid_t start_restored_life(void)
{
	char *arguments[] = {harness_build_path("respct-restore"), store, NULL};

	return start(arguments, error_pipe[1], options.verify);
}

static uint64_t committed_epoch(void)
{
	struct store_view view;

	return harness_store_view(store, options.user, &view) ? view.epoch : 0;
}

static int64_t random_ms(int minimum, int maximum)
{
	int64_t span = maximum > minimum ? (maximum - minimum) * MILLISECOND : 0;

	return minimum * MILLISECOND + (span ? (int64_t)(random_next(&random_state) % (uint64_t)span) : 0);
}

/* Waits until this life has committed a checkpoint. True when the child ended first. */
static bool wait_for_progress(pid_t child, uint64_t epoch_before, int *status)
{
	int64_t deadline = watchdog(), suspicious = now_ns() + SLOW_CHECKPOINT_NS;

	while (committed_epoch() <= epoch_before) {
		if (wait_until(child, now_ns() + 5 * MILLISECOND, status))
			return true;
		if (now_ns() > suspicious) {
			note("no new checkpoint for %lld ms:", SLOW_CHECKPOINT_NS / MILLISECOND);
			children_report_states(log_file);
			suspicious = INT64_MAX;
		}
		if (now_ns() > deadline)
			fail_hung("waiting for a new checkpoint");
	}
	return false;
}

/* Waits until the store names the live process. True when the child ended first. */
static bool wait_for_pid(pid_t child, pid_t *pid, int *status)
{
	int64_t deadline = watchdog();

	while (!(*pid = store_process(store))) {
		if (wait_until(child, now_ns() + MILLISECOND, status))
			return true;
		if (now_ns() > deadline)
			fail_hung("waiting for the live process's pid in the store");
	}
	return false;
}

/* When the number in the pid file changes while we kill: a restore that found numbers taken has begun
 * again in a namespace of its own. Then the new one is killed as well. */
static void kill_successor(pid_t child, pid_t killed, int *status, bool *dead)
{
	int64_t deadline = now_ns() + KILL_PATIENCE_NS;
	pid_t pid;

	while (!*dead && now_ns() < deadline) {
		*dead = wait_until(child, now_ns() + 20 * MILLISECOND, status);
		pid = *dead ? 0 : store_process(store);
		if (pid && pid != killed) {
			note("the pid file says %d now, after %d was killed", pid, killed);
			kill(pid, SIGKILL);
			killed = pid;
		}
	}
}

/* Kills the program and expects the process we started, itself or its restorer, to end the same way.
 * False when the program had just ended by itself, *status set. */
static bool kill_now(pid_t child, pid_t pid, int *status)
{
	int64_t killed_ns = now_ns();
	bool dead = false;

	kill(pid, SIGKILL);
	kill_successor(child, pid, status, &dead);
	if (!dead) {
		children_report_threads(log_file);
		fail("process %d ran on after SIGKILL to %d, the number in the store's pid file", child, pid);
	}
	if (WIFSIGNALED(*status) && WTERMSIG(*status) == SIGKILL)
		return true;
	if (now_ns() > killed_ns + 5 * SECOND)
		fail("SIGKILL to %d, the number in the store's pid file, did not end the program", pid);
	note("the kill of %d came late: %s", pid, status_text(*status));
	return false;
}

/* True when the kill came between the program's exit and the end of its process: nothing is left to
 * restore then, and what it said must be complete. */
static bool ended_by_itself(void)
{
	struct store_view view;

	killed_in_exit = harness_store_view(store, options.user, &view) && !strcmp(view.state, "ended");
	if (killed_in_exit)
		note("the kill came when the program had called exit()");
	return killed_in_exit;
}

/* A life that is killed at a random instant after it has committed something. True when killed. */
static bool live_until_killed(pid_t child, uint64_t epoch_before, int *status)
{
	int64_t instant = now_ns() + random_ms(options.minimum_ms, options.maximum_ms);
	pid_t pid;

	if (wait_until(child, instant, status) || wait_for_progress(child, epoch_before, status) ||
	    wait_for_pid(child, &pid, status))
		return false;
	/* When we had to wait for the commit, that alone must not set the instant. */
	if (now_ns() > instant + 20 * MILLISECOND &&
	    wait_until(child, now_ns() + random_ms(0, 80), status))
		return false;
	if (!kill_now(child, pid, status) || ended_by_itself())
		return false;
	kills_done++;
	note("kill %d of pid %d, epoch %llu", kills_done, pid, (unsigned long long)committed_epoch());
	return true;
}

/* A restored life that is killed soon, maybe before its threads run. True when killed. */
static bool live_until_killed_early(pid_t child, int *status)
{
	pid_t pid;

	if (wait_for_pid(child, &pid, status) ||
	    wait_until(child, now_ns() + random_ms(0, 20), status) ||
	    !kill_now(child, pid, status) || ended_by_itself())
		return false;
	early_kills_done++;
	note("early kill of pid %d, epoch %llu", pid, (unsigned long long)committed_epoch());
	return true;
}

static bool wants_early_kill(bool restored)
{
	return restored && early_kills_done < options.early_kills && random_next(&random_state) % 2;
}

/* Runs life after life until one ends by itself; its status. */
static int live(const char *output_path)
{
	uint64_t epoch = 0;
	bool restored = false, killed = true;
	int status = 0;

	killed_in_exit = false;
	while (killed) {
		pid_t child = restored ? start_restored_life() : start_first_life(output_path);

		note("%s: process %d", restored ? "restored" : "started", child);
		if (!restored)
			start_client();
		if (wants_early_kill(restored)) {
			killed = live_until_killed_early(child, &status);
		} else if (kills_done < options.kills) {
			killed = live_until_killed(child, epoch, &status);
		} else {
			killed = false;
			if (!wait_until(child, watchdog(), &status))
				fail_hung("finishing");
		}
		restored = true;
		epoch = committed_epoch();
	}
	note("ended: %s", status_text(status));
	finish_client();
	return status;
}

/* ---- the verdict ---- */

static bool files_equal(const char *a, const char *b)
{
	FILE *file_a = fopen(a, "re"), *file_b = fopen(b, "re");
	int c = 0, d = 0;

	if (!file_a || !file_b)
		fail("%s: %s", file_a ? b : a, strerror(errno));
	while (c == d && c != EOF) {
		c = getc(file_a);
		d = getc(file_b);
	}
	fclose(file_a);
	fclose(file_b);
	return c == d;
}

static void judge(const struct expectation *expectation, int status, const char *output_path)
{
	struct store_view view;
	char expected[64];

	snprintf(expected, sizeof(expected), "%s", status_text(expectation->status));
	if (!killed_in_exit && status != expectation->status)
		fail("%s instead of %s", status_text(status), expected);
	if (!files_equal(expectation->output_path, output_path)) {
		copy_tree(expectation->output_path, work_path("expected"));
		fail("the output differs from that of the undisturbed run");
	}
	/* What a signal ends is a crash for the store, whoever sent it. */
	if (WIFEXITED(status) &&
	    (!harness_store_view(store, options.user, &view) || strcmp(view.state, "ended")))
		fail("the program ended but its store says \"%s\"", view.state);
}

static void choose_instants(int duration_ms)
{
	if (options.maximum_ms > 0 || options.kills < 1)
		return;
	/* Two thirds of an even share: what a kill undoes is small, and the machine is not always as busy. */
	options.maximum_ms = duration_ms * 2 / (3 * options.kills);
	if (options.maximum_ms < options.minimum_ms)
		options.maximum_ms = options.minimum_ms;
	/* The undisturbed run may have had a slow moment; the kills must come before the end. */
	if (options.maximum_ms > 120)
		options.maximum_ms = 120;
}

/* From the start to the end, in a fresh directory and a fresh store. */
static void run_protected(const struct expectation *expectation)
{
	const char *output_path = work_path("output");

	remove_tree(store);
	make_program_directory();
	judge(expectation, live(output_path), output_path);
}

/* On a busy machine a program may come to its end before it has been killed often enough: then it is run
 * again, and each run must come out right. */
static int run_until_killed_enough(const struct expectation *expectation)
{
	int required = options.kills < KILLS_REQUIRED ? options.kills : KILLS_REQUIRED, runs = 0;

	do {
		run_protected(expectation);
		runs++;
	} while (kills_done + early_kills_done < required && runs < RUNS_MAXIMUM);
	if (kills_done + early_kills_done < required)
		fail("it finished %d times after only %d kills; give it more work", runs, kills_done);
	return runs;
}

int main(int count, char **arguments)
{
	struct expectation expectation;
	int runs;

	begin_ns = now_ns();
	harness_begin();
	parse_options(count, arguments);
	make_places();
	note("seed %llu", (unsigned long long)options.seed);
	run_undisturbed(&expectation);
	choose_instants(expectation.duration_ms);
	runs = run_until_killed_enough(&expectation);
	printf("ok %s (%d+%d kills in %d run%s, %.1f s)\n", options.name, kills_done, early_kills_done, runs,
	       runs > 1 ? "s" : "", seconds_so_far());
	return 0;
}
