/*
 * One life of the program: started or restored, watched, killed. See crash.h.
 *
 * `child` is the process we have started, the program itself or its restorer; `pid` is the program, as the store's pid
 * file names it.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"
#include "common/children.h"
#include "common/report.h"
#include "crash.h"

#define DEFAULT_TIMEOUT_S 120
#define SLOW_CHECKPOINT_NS (1500 * MILLISECOND) /* longer without one: say where the threads are */
#define KILL_PATIENCE_NS (20 * SECOND)          /* until a killed process is gone, on a busy machine */
#define SHORTEST_RESTORE_NS (40 * MILLISECOND)  /* kills in a restore are spread over so long at least */
#define LONGEST_RESTORE_NS (5 * SECOND)
#define STEP_CHECKPOINTS 5 /* in which a life has come to its step, or does not */

/* ---- other programs: the client, checks ---- */

pid_t crash_start(struct crash *crash, char *const *arguments, int output, char *const *environment)
{
	struct launch launch = {arguments, crash->directory, crash->input, output, crash->error_pipe[1],
				-1,        environment};
	return child_start(&launch);
}

static pid_t start_shell(struct crash *crash, const char *command, pid_t pid)
{
	char *arguments[] = {"/bin/sh", "-c", (char *)command, NULL};
	char store[PATH_MAX + 16], number[32], kill_number[32];
	char *environment[] = {store, number, kill_number, NULL};
	struct launch launch = {arguments, crash->directory, -1, crash->error_pipe[1], crash->error_pipe[1],
				-1,        environment};
	snprintf(store, sizeof(store), "RESPCT_STORE=%s", crash->store);
	snprintf(number, sizeof(number), "RESPCT_PID=%d", pid);
	snprintf(kill_number, sizeof(kill_number), "RESPCT_KILL=%u", crash->kills_done);
	return child_start(&launch);
}

bool crash_shell(struct crash *crash, const char *command, pid_t pid, int *status)
{
	return child_wait(start_shell(crash, command, pid), crash_watchdog(crash), crash->error_pipe[0], crash->log,
			  status);
}

void crash_start_client(struct crash *crash)
{
	if (crash->options.client != NULL)
		crash->client = start_shell(crash, crash->options.client, 0);
}

/* One that ends badly is the verdict. */
static void wait_for_client(struct crash *crash, int64_t deadline_ns)
{
	int status;
	if (crash->client == 0 || !child_wait(crash->client, deadline_ns, crash->error_pipe[0], crash->log, &status))
		return;
	crash->client = 0;
	if (status != 0)
		crash_fail(crash, "the client failed: %s", status_text(status));
}

void crash_finish_client(struct crash *crash)
{
	wait_for_client(crash, crash_watchdog(crash));
	if (crash->client != 0)
		crash_fail_hung(crash, "the client");
}

/* ---- waiting ---- */

static int timeout_s(const struct crash *crash)
{
	if (crash->options.timeout_s > 0)
		return crash->options.timeout_s;
	return DEFAULT_TIMEOUT_S + crash->expected.duration_ms / 200; /* five times as long as undisturbed */
}

int64_t crash_watchdog(const struct crash *crash)
{
	return now_ns() + timeout_s(crash) * SECOND;
}

void crash_fail_hung(struct crash *crash, const char *what)
{
	crash_note(crash, "%s takes longer than %d s; the threads:", what, timeout_s(crash));
	children_report_threads(crash->log);
	crash_fail(crash, "%s takes longer than %d s (--timeout); the log says where it hangs", what, timeout_s(crash));
}

bool crash_wait(struct crash *crash, pid_t child, int64_t deadline_ns, int *status)
{
	do {
		int64_t step_ns = crash->client != 0 ? now_ns() + 50 * MILLISECOND : deadline_ns;
		if (child_wait(child, step_ns < deadline_ns ? step_ns : deadline_ns, crash->error_pipe[0], crash->log,
			       status))
			return true;
		wait_for_client(crash, 0);
	} while (now_ns() < deadline_ns);
	return false;
}

/* ---- the store ---- */

bool crash_store_status(const struct crash *crash, struct store_status *status)
{
	struct store *store;
	if (rt_store_open(crash->store, false, 3, &store, NULL) < 0)
		return false;
	rt_store_status(store, status);
	rt_store_close(store);
	return true;
}

static uint64_t committed_epoch(const struct crash *crash)
{
	struct store_status status;
	return crash_store_status(crash, &status) ? status.epoch : 0;
}

/* Waits until this life has committed a checkpoint. True when the child ended first. */
static bool wait_for_progress(struct crash *crash, pid_t child, uint64_t epoch_before, int *status)
{
	int64_t deadline = crash_watchdog(crash), suspicious = now_ns() + SLOW_CHECKPOINT_NS;
	for (;;) {
		int64_t before = now_ns();
		if (committed_epoch(crash) > epoch_before)
			return false;
		/* A large store takes its time to look at: not more than a quarter of ours. */
		int64_t cost = now_ns() - before;
		if (crash_wait(crash, child, now_ns() + 5 * MILLISECOND + 3 * cost, status))
			return true;
		if (now_ns() > suspicious) {
			crash_note(crash, "no new checkpoint for %lld ms:", SLOW_CHECKPOINT_NS / MILLISECOND);
			children_report_states(crash->log);
			suspicious = INT64_MAX;
		}
		if (now_ns() > deadline)
			crash_fail_hung(crash, "waiting for a new checkpoint");
	}
}

/* Waits until the store names the live process. True when the child ended first. */
static bool wait_for_pid(struct crash *crash, pid_t child, pid_t *pid, int *status)
{
	int64_t deadline = crash_watchdog(crash);
	while ((*pid = store_process(crash->store)) == 0) {
		if (crash_wait(crash, child, now_ns() + MILLISECOND, status))
			return true;
		if (now_ns() > deadline)
			crash_fail_hung(crash, "waiting for the process's number in the store");
	}
	return false;
}

/* ---- killing ---- */

/* When the number in the pid file changes while we kill: a restore that found numbers taken has begun
 * again in a namespace of its own. Then the new one is killed as well. */
static bool kill_successors(struct crash *crash, pid_t child, pid_t killed, int *status)
{
	int64_t deadline = now_ns() + KILL_PATIENCE_NS;
	while (now_ns() < deadline) {
		if (crash_wait(crash, child, now_ns() + 20 * MILLISECOND, status))
			return true;
		pid_t pid = store_process(crash->store);
		if (pid != 0 && pid != killed) {
			crash_note(crash, "the pid file says %d now, after %d was killed", pid, killed);
			kill(pid, SIGKILL);
			killed = pid;
		}
	}
	return false;
}

/* Kills the program; the process we started, itself or its restorer, must end the same way. False when the program
 * had just ended by itself, *status set. */
static bool kill_program(struct crash *crash, pid_t child, pid_t pid, int *status)
{
	kill(pid, SIGKILL);
	if (!kill_successors(crash, child, pid, status)) {
		children_report_threads(crash->log);
		crash_fail(crash, "process %d ran on after SIGKILL to %d, the number in the store's pid file", child,
			   pid);
	}
	return WIFSIGNALED(*status) && WTERMSIG(*status) == SIGKILL;
}

/* The same with the restorer, which is stopped first, so that it makes no process that we do not see. */
static bool kill_restorer(struct crash *crash, pid_t child, int *status)
{
	siginfo_t info;
	kill(child, SIGSTOP);
	while (waitid(P_PID, (id_t)child, &info, WSTOPPED | WEXITED | WNOWAIT) < 0 && errno == EINTR)
		;
	child_kill_tree(child);
	if (!crash_wait(crash, child, now_ns() + KILL_PATIENCE_NS, status))
		crash_fail(crash, "process %d, the restorer, ran on after SIGKILL", child);
	return WIFSIGNALED(*status) && WTERMSIG(*status) == SIGKILL;
}

/* What a life that ended by SIGKILL leaves; `how` it was killed, for the result. */
static enum life_end judge_kill(struct crash *crash, bool restored, const char *how)
{
	struct store_status store = {0};
	bool readable = crash_store_status(crash, &store);
	if (readable && store.state == STORE_ENDED) {
		crash_note(crash, "the kill came when the program had called exit()");
		return LIFE_KILLED_IN_EXIT;
	}
	crash->kills_done++;
	crash_note(crash, "kill %u: %s, epoch %lu", crash->kills_done, how, (unsigned long)store.epoch);
	if (!restored && (!readable || store.state == STORE_EMPTY)) {
		crash_point_killed(crash, format_text("%s, before the first checkpoint", how));
		return LIFE_KILLED_UNBORN;
	}
	crash_point_killed(crash, format_text("%s, epoch %lu", how, (unsigned long)store.epoch));
	return LIFE_KILLED;
}

/* ---- a life ---- */

/* What is the matter with the life that goes on. */
struct life {
	struct crash *crash;
	const struct planned_kill *planned; /* NULL: it is to end by itself */
	bool restored;
	pid_t child;
	int64_t started_ns;
	int *status;
};

static double milliseconds(const struct life *life)
{
	return (double)(now_ns() - life->started_ns) / (double)MILLISECOND;
}

/* How it ended, when it did so before we killed it: a kill at a step is one, too. */
static enum life_end ended(const struct life *life)
{
	int status = *life->status;
	if (life->planned != NULL && life->planned->step[0] != '\0' && WIFSIGNALED(status) &&
	    WTERMSIG(status) == SIGKILL)
		return judge_kill(life->crash, life->restored,
				  format_text("at %s, after %.0f ms", life->planned->step, milliseconds(life)));
	return LIFE_ENDED;
}

static int64_t instant_ns(const struct life *life)
{
	const struct crash_options *options = &life->crash->options;
	double span = options->maximum_ms - options->minimum_ms;
	return (int64_t)((options->minimum_ms + span * life->planned->instant) * (double)MILLISECOND);
}

/* Soon after a restore has begun, maybe before its threads run. */
static enum life_end kill_early(const struct life *life)
{
	struct crash *crash = life->crash;
	bool with_restorer = life->planned->kind == KILL_RESTORE, killed;
	int64_t span = crash->restore_ns > SHORTEST_RESTORE_NS ? crash->restore_ns : SHORTEST_RESTORE_NS;
	int64_t instant = life->started_ns + (int64_t)((double)span * life->planned->instant);
	pid_t pid = 0;
	if ((!with_restorer && wait_for_pid(crash, life->child, &pid, life->status)) ||
	    crash_wait(crash, life->child, instant, life->status))
		return ended(life);
	const char *how = format_text("%.0f ms after the restore began%s", milliseconds(life),
				      with_restorer ? ", with the restorer" : "");
	killed = with_restorer ? kill_restorer(crash, life->child, life->status)
			       : kill_program(crash, life->child, pid, life->status);
	return killed ? judge_kill(crash, true, how) : ended(life);
}

/* Gives a life time to come to the step at which it is to be killed: some checkpoints, as some steps are rare. A program
 * that has ended before that is not waited for again: then the kill comes at its instant. True when the child ended. */
static bool wait_for_step(const struct life *life)
{
	struct crash *crash = life->crash;
	if (life->planned->kind != KILL_STEP || crash->fruitless_runs > 0)
		return false;
	for (int i = 0; i < STEP_CHECKPOINTS; i++)
		if (wait_for_progress(crash, life->child, committed_epoch(crash), life->status))
			return true;
	return false;
}

static enum life_end kill_at_instant(const struct life *life, int64_t from_ns)
{
	struct crash *crash = life->crash;
	int64_t instant = from_ns + instant_ns(life);
	pid_t pid;
	if (wait_for_step(life))
		return ended(life);
	/* When we had to wait, that alone must not set the instant. */
	if (now_ns() > instant + 20 * MILLISECOND)
		instant = now_ns() + (int64_t)(life->planned->second * (double)(80 * MILLISECOND));
	if (crash_wait(crash, life->child, instant, life->status) ||
	    wait_for_pid(crash, life->child, &pid, life->status))
		return ended(life);
	const char *how =
		format_text("after %.0f ms%s%s", milliseconds(life),
			    life->planned->step[0] != '\0' ? ", not having come to " : "", life->planned->step);
	if (!kill_program(crash, life->child, pid, life->status))
		return ended(life);
	return judge_kill(crash, life->restored, how);
}

/* Waits for the client. A program that ends before that, and before its signal, is no server. */
void crash_end_server(struct crash *crash, pid_t child, int *status)
{
	int64_t deadline = crash_watchdog(crash);
	do {
		if (crash_wait(crash, child, now_ns() + (crash->client != 0 ? 50 * MILLISECOND : 0), status))
			crash_fail(crash, "it ended by itself (%s), and was not to before --end", status_text(*status));
		if (now_ns() > deadline)
			crash_fail_hung(crash, "the client");
	} while (crash->client != 0);
}

static enum life_end let_end(const struct life *life)
{
	struct crash *crash = life->crash;
	pid_t pid;
	if (crash->options.end_signal != 0) {
		crash_end_server(crash, life->child, life->status);
		if (wait_for_pid(crash, life->child, &pid, life->status))
			return ended(life);
		crash_note(crash, "signal %d to %d", crash->options.end_signal, pid);
		kill(pid, crash->options.end_signal);
	}
	if (!crash_wait(crash, life->child, crash_watchdog(crash), life->status))
		crash_fail_hung(crash, crash->options.end_signal ? "the end, after the signal," : "the last life");
	return ended(life);
}

/* Runs the check. True when the program has ended meanwhile: then its verdict does not count. */
static bool check(const struct life *life)
{
	struct crash *crash = life->crash;
	int status;
	pid_t pid;
	if (wait_for_pid(crash, life->child, &pid, life->status))
		return true;
	if (!crash_shell(crash, crash->options.check, pid, &status))
		crash_fail_hung(crash, "--check");
	crash_note(crash, "check of kill %u: %s", crash->kills_done, status_text(status));
	if (crash_wait(crash, life->child, now_ns(), life->status))
		return true;
	if (status != 0)
		crash_fail(crash, "the check failed: %s", status_text(status));
	return false;
}

static pid_t start_life(struct crash *crash, bool restored, const struct planned_kill *planned)
{
	const struct crash_options *options = &crash->options;
	char self[PATH_MAX - 32], restore[PATH_MAX], fail[sizeof(RT_FAIL_VARIABLE) + STEP_SIZE];
	char *arguments[16 + options->argument_count], *environment[3] = {NULL};
	int next = 0, output = crash->error_pipe[1]; /* a restored one has its own stdout */
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		refuse("/proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	snprintf(restore, sizeof(restore), "%.*s/respct-restore", (int)(strrchr(self, '/') - self), self);
	if (planned != NULL && planned->step[0] != '\0') {
		snprintf(fail, sizeof(fail), RT_FAIL_VARIABLE "=%s", planned->step);
		environment[next++] = fail;
	}
	if (options->verify)
		environment[next] = "RESPCT_VERIFY=1";
	if (restored) {
		char *restore_arguments[] = {restore, crash->store, NULL};
		return crash_start(crash, restore_arguments, output, environment);
	}
	next = 0;
	const char *const words[] = {self, "run", "--quiet", "--store", crash->store};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		arguments[next++] = (char *)words[i];
	if (options->interval != NULL)
		arguments[next++] = format_text("--interval=%s", options->interval);
	if (options->durability != NULL)
		arguments[next++] = format_text("--durability=%s", options->durability);
	arguments[next++] = "--";
	for (int i = 0; options->program[i] != NULL; i++)
		arguments[next++] = options->program[i];
	arguments[next] = NULL;
	output = crash_open_output(crash, "output");
	pid_t child = crash_start(crash, arguments, output, environment);
	close(output);
	return child;
}

enum life_end crash_live(struct crash *crash, bool restored, const struct planned_kill *planned, int *status)
{
	uint64_t epoch_before = restored ? committed_epoch(crash) : 0;
	int64_t from = now_ns();
	struct life life = {crash, planned, restored, start_life(crash, restored, planned), from, status};
	crash_note(crash, "%s: process %d", restored ? "restored" : "started", life.child);
	if (!restored)
		crash_start_client(crash);
	if (restored && planned != NULL && (planned->kind == KILL_EARLY || planned->kind == KILL_RESTORE))
		return kill_early(&life);
	if (wait_for_progress(crash, life.child, epoch_before, status))
		return ended(&life);
	if (restored && now_ns() - from > crash->restore_ns && now_ns() - from < LONGEST_RESTORE_NS)
		crash->restore_ns = now_ns() - from;
	if (restored && crash->options.check != NULL) {
		if (check(&life))
			return ended(&life);
		from = now_ns();
	}
	crash_points_survived(crash);
	return planned != NULL ? kill_at_instant(&life, from) : let_end(&life);
}
