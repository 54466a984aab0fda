/*
 * The undisturbed run: the measure of all others. See crash.h.
 *
 * Its result can be kept in a file, the exit status and the time it took beside it in FILE.status; several sessions may
 * make it at the same time.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/children.h"
#include "common/report.h"
#include "crash.h"

/* What is held in a file of an earlier time. */
static bool read_kept(struct crash *crash)
{
	struct expectation *expected = &crash->expected;
	const char *path = crash->options.expected;
	if (path == NULL)
		return false;
	FILE *file = fopen(format_text("%s.status", path), "re");
	if (file == NULL)
		return false;
	int fields = fscanf(file, "%d %d", &expected->status, &expected->duration_ms); // NOLINT(cert-err34-c)
	fclose(file);
	expected->output = (char *)path;
	return fields == 2 && access(path, R_OK) == 0;
}

static void rename_or_refuse(const char *from, const char *to)
{
	if (rename(from, to) < 0)
		refuse("%s: %s", to, strerror(errno));
}

/* The status is renamed into place last: who sees it, sees a whole output too. */
static void keep(struct crash *crash)
{
	const struct expectation *expected = &crash->expected;
	const char *path = crash->options.expected;
	if (path == NULL)
		return;
	char *temporary = format_text("%s.%d", path, getpid());
	copy_tree(expected->output, temporary);
	rename_or_refuse(temporary, path);
	FILE *file = fopen(temporary, "we");
	if (file == NULL)
		refuse("%s: %s", temporary, strerror(errno));
	fprintf(file, "%d %d\n", expected->status, expected->duration_ms);
	fclose(file);
	rename_or_refuse(temporary, format_text("%s.status", path));
}

static void judge(struct crash *crash, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		crash_points_skip(crash);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == EXIT_FAILURE || WEXITSTATUS(status) == EXIT_NOT_FOUND ||
				  WEXITSTATUS(status) == EXIT_NOT_EXECUTABLE))
		crash_fail(crash, "the undisturbed run failed: %s", status_text(status));
}

void crash_run_undisturbed(struct crash *crash)
{
	struct expectation *expected = &crash->expected;
	int status = 0;
	if (!crash->options.same_output || read_kept(crash))
		return;
	crash_progress(crash, "the undisturbed run");
	crash_prepare_directory(crash);
	expected->output = crash_path(crash, "expected");
	int output = crash_open_output(crash, "expected");
	int64_t started = now_ns();
	pid_t child = crash_start(crash, crash->options.program, output, NULL);
	close(output);
	crash_start_client(crash);
	if (crash->options.end_signal != 0) {
		crash_end_server(crash, child, &status);
		kill(child, crash->options.end_signal);
	}
	if (!crash_wait(crash, child, crash_watchdog(crash), &status))
		crash_fail_hung(crash, "the undisturbed run");
	crash_finish_client(crash);
	expected->status = status;
	expected->duration_ms = (int)((now_ns() - started) / MILLISECOND);
	crash_note(crash, "undisturbed: %s after %d ms", status_text(status), expected->duration_ms);
	children_kill();
	judge(crash, status);
	keep(crash);
}

bool crash_output_is_expected(struct crash *crash, const char *output, long *line)
{
	*line = 1;
	FILE *a = fopen(crash->expected.output, "re"), *b = fopen(output, "re");
	int c = 0, d = 0;
	if (a == NULL || b == NULL)
		crash_fail(crash, "%s: %s", a == NULL ? crash->expected.output : output, strerror(errno));
	while (c == d && c != EOF) {
		*line += c == '\n';
		c = getc(a);
		d = getc(b);
	}
	fclose(a);
	fclose(b);
	return c == d;
}
