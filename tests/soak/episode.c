/* See episode.h. */
#include "episode.h"

#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/report.h"
#include "outside.h"

#define TIMEOUT_NS (600 * SECOND)        /* no step takes so long on a busy machine: a hang */
#define SLOW_CHECKPOINT_NS (60 * SECOND) /* longer without one: the log says where the threads are */
#define EPISODES_KEPT 8                  /* of failed ones */

struct episode episode = {.minimum_ms = 1000, .maximum_ms = 5000};
struct totals *totals;

double seconds_so_far(void)
{
	return (double)(now_ns() - episode.begin_ns) / 1e9;
}

void note(const char *format, ...)
{
	va_list arguments;

	child_drain(episode.error_pipe[0], episode.messages);
	va_start(arguments, format);
	harness_log(episode.log_file, episode.begin_ns, format, arguments);
	va_end(arguments);
}

static void clean_up(void)
{
	children_kill();
	remove_tree(episode.store);
	remove_tree(episode.work);
}

void fail(const char *format, ...)
{
	char reason[512], *directory = harness_failed_directory(format_text("soak/%s-%d", episode.name, getpid()));
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	note("FAILED: %s", reason);
	children_report_threads(episode.log_file);
	children_kill();
	child_drain(episode.error_pipe[0], episode.messages);
	if (totals->failed++ < EPISODES_KEPT) {
		copy_tree(episode.work, directory);
		if (access(episode.store, F_OK) == 0)
			copy_tree(episode.store, directory);
	}
	printf("FAILED %s: %s; after %d kills, %.0f s, see %s/log\n", episode.name, reason, episode.kills,
	       seconds_so_far(), directory);
	exit(1);
}

void make_directory(const char *path)
{
	if (mkdir(path, 0755))
		refuse("%s: %s", path, strerror(errno));
	harness_give(path, episode.user);
}

void make_places(void)
{
	const char *base = getenv("TMPDIR");

	episode.work = format_text("%s/respct-soak-XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(episode.work))
		refuse("%s: %s", episode.work, strerror(errno));
	harness_give(episode.work, episode.user);
	episode.store = access("/dev/shm", W_OK) ? format_text("%s/store", episode.work)
						 : format_text("/dev/shm/%s-store", strrchr(episode.work, '/') + 1);
	atexit(clean_up);
	episode.program_directory = format_text("%s/directory", episode.work);
	make_directory(episode.program_directory);
	episode.load_directory = format_text("%s/load", episode.work);
	make_directory(episode.load_directory);
	episode.log_file = fopen(format_text("%s/log", episode.work), "we");
	episode.messages = fopen(format_text("%s/stderr", episode.work), "we");
	if (!episode.log_file || !episode.messages || pipe2(episode.error_pipe, O_CLOEXEC))
		refuse("%s: %s", episode.work, strerror(errno));
}

/* ---- waiting ---- */

int64_t watchdog(void)
{
	return now_ns() + TIMEOUT_NS;
}

/* A client that ends badly is the verdict. */
void look_at_client(int64_t until_ns)
{
	int status;

	if (!episode.client || !child_wait(episode.client, until_ns, episode.error_pipe[0], episode.messages, &status))
		return;
	episode.client = 0;
	if (status)
		fail("the client: %s", status_text(status));
}

/* True when the process ended before `until_ns`. */
bool wait_until(pid_t process, int64_t until_ns, int *status)
{
	int64_t step_ns;

	do {
		step_ns = now_ns() + 50 * MILLISECOND;
		if (child_wait(process, step_ns < until_ns ? step_ns : until_ns, episode.error_pipe[0],
			       episode.messages, status))
			return true;
		if (episode.workload->kind == REDIS)
			look_at_client(0);
	} while (now_ns() < until_ns);
	return false;
}

/* ---- processes ---- */

pid_t start(char *const *arguments, const char *directory, int output, long as_user, bool verified)
{
	static int input = -1;
	char *environment[] = {"RESPCT_VERIFY=1", NULL};

	if (input < 0)
		input = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct launch launch = {
		.arguments = arguments,
		.directory = directory,
		.input = input,
		.output = output < 0 ? episode.error_pipe[1] : output,
		.error = episode.error_pipe[1],
		.user = as_user,
		.environment = verified ? environment : NULL,
	};

	return child_start(&launch);
}

pid_t start_first_life(char *const *program, int output)
{
	char *arguments[64] = {harness_build_path("respct"), "run", "--store", episode.store, "--quiet", "--"};
	int i;

	for (i = 0; program[i]; i++)
		arguments[6 + i] = program[i];
	return start(arguments, episode.program_directory, output, episode.user, episode.verify);
}

pid_t start_restored_life(void)
{
	note("restored");
	char *arguments[] = {harness_build_path("respct-restore"), episode.store, NULL};

	return start(arguments, episode.program_directory, -1, episode.user, episode.verify);
}

/* ---- a life ---- */

struct store_view view_store(void)
{
	struct store_view view;

	if (!harness_store_view(episode.store, episode.user, &view))
		memset(&view, 0, sizeof(view));
	return view;
}

/* Waits until this life has committed a checkpoint and the store names it. 0 when it ended first. */
pid_t wait_for_progress(pid_t process, int *status)
{
	int64_t deadline = watchdog(), suspicious = now_ns() + SLOW_CHECKPOINT_NS;
	pid_t pid;

	while (view_store().epoch <= episode.epoch || !(pid = store_process(episode.store))) {
		if (wait_until(process, now_ns() + 10 * MILLISECOND, status))
			return 0;
		if (now_ns() > suspicious) {
			note("no new checkpoint for %lld ms:", SLOW_CHECKPOINT_NS / MILLISECOND);
			children_report_states(episode.log_file);
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

	if (!measure_take(pid, episode.store, view.pages, &sample))
		return;
	/* Lives are compared with lives: the first one of a program was not restored. */
	if (episode.epoch > 0) {
		episode.samples =
			realloc(episode.samples, (size_t)(episode.sample_count + 1) * sizeof(*episode.samples));
		if (!episode.samples)
			refuse("out of memory");
		episode.samples[episode.sample_count++] = sample;
	}
	fprintf(episode.record, "%.3f\t%s\t%d\t%llu", (double)time(NULL), episode.name, episode.kills,
		(unsigned long long)view.epoch);
	for (i = 0; i < MEASURES; i++)
		fprintf(episode.record, "\t%lld", (long long)sample.value[i]);
	fputc('\n', episode.record);
	fflush(episode.record);
}

static int64_t random_ns(void)
{
	int64_t span = (episode.maximum_ms - episode.minimum_ms) * MILLISECOND;

	return episode.minimum_ms * MILLISECOND +
	       (span > 0 ? (int64_t)(random_next(&episode.random_state) % (uint64_t)span) : 0);
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
	episode.epoch = view.epoch;
	measure_reap_orphans(episode.client);
	note("killed %d, epoch %llu", pid, (unsigned long long)episode.epoch);
	return true;
}

/* From a start or a restore to the next kill. False when the program ended by itself, *status set. */
bool live_until_killed(pid_t process, int *status)
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
	return episode.workload->kind == REDIS &&
	       (strstr(line, "(deleted)) cannot be restored: a file without a name, more than 1 MiB") ||
		strstr(line, "(deleted)) is not restored: it could not be captured") ||
		strstr(line, "cannot be stopped (it blocks all signals, or waits for a device"));
}

void expect_nothing_said(void)
{
	static long looked_at;
	char line[1024];
	FILE *file;

	child_drain(episode.error_pipe[0], episode.messages);
	fflush(episode.messages);
	file = fopen(format_text("%s/stderr", episode.work), "re");
	if (!file || fseek(file, looked_at, SEEK_SET))
		refuse("%s/stderr: %s", episode.work, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		if (!may_be_said(line))
			fail("said on stderr: %.300s", line);
		episode.lines_said++;
	}
	looked_at = ftell(file);
	fclose(file);
}

void survived(void)
{
	episode.kills++;
	totals->kills++;
	expect_nothing_said();
}
