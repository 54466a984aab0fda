/* respct crash: lives from a start to an end, and the verdict; see crash.h. */
#include <sys/wait.h>
#include <stdlib.h>
#include <string.h>

#include "common/children.h"
#include "common/report.h"
#include "crash.h"
#include "respct/commands.h"

#define LEAST_MAXIMUM_MS 500 /* when nothing is known of the time the program takes */
#define FRUITLESS_RUNS 5

/* ---- the verdict ---- */

/* The program's own status, after what we have done to it. */
static void judge_status(struct crash *crash, bool restored, int status)
{
	const struct expectation *expected = &crash->expected;
	int end_signal = crash->options.end_signal;
	if (restored && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_TOOL_FAILED && status != expected->status)
		crash_fail(crash, "respct-restore could not bring it back");
	if (crash->options.same_output && status != expected->status) {
		char wanted[64];
		snprintf(wanted, sizeof(wanted), "%s", status_text(expected->status));
		crash_fail(crash, "it ended with %s; undisturbed: %s", status_text(status), wanted);
	}
	if (!crash->options.same_output && status != 0 &&
	    !(end_signal != 0 && WIFSIGNALED(status) && WTERMSIG(status) == end_signal))
		crash_fail(crash, "it ended with %s", status_text(status));
}

/* Where the two outputs part, for the message. */
static void judge_output(struct crash *crash)
{
	char *output = crash_path(crash, "output");
	long line;
	if (crash->options.same_output && !crash_output_is_expected(crash, output, &line)) {
		if (crash->options.expected != NULL)
			copy_tree(crash->expected.output, crash_path(crash, "expected"));
		crash_fail(crash, "the output differs from that of the undisturbed run, from line %ld on", line);
	}
}

static void judge_store(struct crash *crash, int status)
{
	struct store_status store;
	/* What a signal ends is a crash for the store, whoever sent it. */
	if (!WIFEXITED(status))
		return;
	if (!crash_store_status(crash, &store))
		crash_fail(crash, "it ended, and its store cannot be read: %s", rt_store_problem());
	if (store.state != STORE_ENDED)
		crash_fail(crash, "it ended, but its store says \"%s\"", state_name(store.state));
}

/* ---- a run ---- */

static void prepare(struct crash *crash)
{
	children_kill();
	crash->client = 0;
	crash_prepare_directory(crash);
}

/* A life that is not restored cannot be killed in its restore. */
static void plan(const struct crash *crash, bool restored, struct planned_kill *planned)
{
	crash_plan(crash->options.seed, crash->options.mode, crash->kills_done + 1, planned);
	if (restored || planned->kind == KILL_STEP)
		return;
	planned->kind = KILL_RANDOM;
	planned->step[0] = '\0';
}

/* Life after life until one ends by itself. */
static enum life_end live(struct crash *crash, bool *restored, bool *early, int *status)
{
	struct planned_kill planned;
	for (;;) {
		bool to_kill = crash->kills_done < crash->options.kills;
		crash_progress(crash, *restored ? "restored" : "started");
		if (to_kill)
			plan(crash, *restored, &planned);
		enum life_end end = crash_live(crash, *restored, to_kill ? &planned : NULL, status);
		*early = to_kill;
		if (end == LIFE_KILLED)
			*restored = true;
		else if (end == LIFE_KILLED_UNBORN)
			prepare(crash); /* there is nothing to restore: it begins anew */
		else
			return end;
	}
}

static void run(struct crash *crash)
{
	int status = 0;
	bool restored = false, early;
	crash->runs++;
	remove_tree(crash->store);
	prepare(crash);
	enum life_end end = live(crash, &restored, &early, &status);
	crash_note(crash, "ended: %s", status_text(status));
	if (end == LIFE_ENDED) {
		judge_status(crash, restored, status);
		if (early && crash->options.end_signal != 0)
			crash_fail(crash, "it ended by itself (%s), and was not to before --end", status_text(status));
	}
	crash_finish_client(crash);
	judge_output(crash);
	judge_store(crash, end == LIFE_ENDED ? status : 0);
	crash_points_survived(crash);
	crash_point_ended(crash, end == LIFE_ENDED ? status : -1);
	children_kill();
}

/* Two thirds of an even share: what a kill undoes is small, and the machine is not always as busy. */
static void choose_instants(struct crash *crash)
{
	struct crash_options *options = &crash->options;
	if (options->same_output)
		options->maximum_ms = (int)((int64_t)crash->expected.duration_ms * 2 / (3 * (int64_t)options->kills));
	else
		options->maximum_ms = LEAST_MAXIMUM_MS;
	if (options->maximum_ms < options->minimum_ms)
		options->maximum_ms = options->minimum_ms;
}

/* A program may come to its end before it has been killed often enough: then it is run again, and each run must come
 * out right. */
void crash_run_all(struct crash *crash)
{
	struct crash_options *options = &crash->options;
	bool may_choose = options->maximum_ms == 0;
	if (may_choose)
		choose_instants(crash);
	while (crash->kills_done < options->kills) {
		unsigned before = crash->kills_done;
		run(crash);
		if (crash->kills_done > before) {
			crash->fruitless_runs = 0;
			continue;
		}
		if (++crash->fruitless_runs == FRUITLESS_RUNS)
			crash_fail(crash,
				   "only %u of %u kills: it ended %d times before it could be killed; give it more "
				   "work, or "
				   "kill sooner (--max-ms)",
				   crash->kills_done, options->kills, crash->fruitless_runs);
		if (may_choose && options->maximum_ms / 2 > options->minimum_ms)
			options->maximum_ms /= 2;
	}
}

static void note_command_line(struct crash *crash)
{
	char *line = crash_command_line(crash);
	crash_note(crash, "%s", line);
	free(line);
}

int command_crash(int argc, char **argv)
{
	static struct crash crash;
	crash_parse_options(&crash.options, argc, argv);
	children_adopt();
	crash_make_places(&crash);
	note_command_line(&crash);
	crash_run_undisturbed(&crash);
	crash_run_all(&crash);
	crash_points_end(&crash);
	return 0;
}
