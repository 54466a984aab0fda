/*
 * Test points: TAP (version 13) on stdout, progress and one last line on stderr; see crash.h.
 *
 * A kill's point is printed when the life after it has shown that it was survived: it has committed a checkpoint of its
 * own, and the check was content. So after a failure no point is left that was said to be right too soon.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/children.h"
#include "common/report.h"
#include "crash.h"

#define QUIET_NS (10 * SECOND) /* from one line of progress to the next, in a log */

static bool live_line; /* stands on the terminal */

/* ---- progress ---- */

static double seconds_so_far(const struct crash *crash)
{
	return (double)(now_ns() - crash->began_ns) / 1e9;
}

static void clear_live_line(void)
{
	if (live_line)
		fputs("\r\033[K", stderr);
	live_line = false;
}

void crash_progress(struct crash *crash, const char *what)
{
	static int64_t said_ns;
	bool terminal = isatty(STDERR_FILENO);
	if (said_ns == 0)
		said_ns = crash->began_ns;
	if (!terminal && now_ns() < said_ns + QUIET_NS)
		return;
	clear_live_line();
	fprintf(stderr, "%s: %u of %u kills, run %u, %.0f s: %s", crash->name, crash->kills_done, crash->options.kills,
		crash->runs, seconds_so_far(crash), what);
	live_line = terminal;
	if (!terminal)
		fputc('\n', stderr);
	fflush(stderr);
	said_ns = now_ns();
}

/* ---- points ---- */

static void say_version(const struct crash *crash)
{
	clear_live_line();
	if (crash->points_decided > 0)
		return;
	printf("TAP version 13\n# respct crash of %s, seed %lu\n", crash->name, (unsigned long)crash->options.seed);
}

static struct crash_point *add_point(struct crash *crash, char *name)
{
	crash->points = reallocarray(crash->points, crash->point_count + 1, sizeof(*crash->points));
	if (crash->points == NULL)
		refuse("out of memory");
	struct crash_point *point = &crash->points[crash->point_count++];
	*point = (struct crash_point){.name = name};
	return point;
}

static void print_point(struct crash *crash, const char *problem)
{
	struct crash_point *point = &crash->points[crash->points_decided];
	say_version(crash);
	if (crash->point_began_ns == 0)
		crash->point_began_ns = crash->began_ns;
	point->seconds = (double)(now_ns() - crash->point_began_ns) / 1e9;
	crash->point_began_ns = now_ns();
	point->problem = problem != NULL ? format_text("%s", problem) : NULL;
	crash->points_decided++;
	printf("%s %zu - %s\n", problem != NULL ? "not ok" : "ok", crash->points_decided, point->name);
	fflush(stdout);
}

void crash_point_killed(struct crash *crash, const char *how)
{
	add_point(crash, format_text("kill %u %s", crash->kills_done, how));
}

void crash_points_survived(struct crash *crash)
{
	while (crash->points_decided < crash->point_count)
		print_point(crash, NULL);
}

void crash_point_ended(struct crash *crash, int status)
{
	const char *output = crash->options.same_output ? ", same output" : "";
	add_point(crash, status < 0 ? format_text("end of run %u: killed in exit()%s", crash->runs, output)
				    : format_text("end of run %u: %s%s", crash->runs, status_text(status), output));
	print_point(crash, NULL);
}

static bool write_report(struct crash *crash, const char *log_tail)
{
	const char *path = crash->options.report;
	if (path == NULL || crash_write_junit(crash, path, log_tail))
		return true;
	report("%s: %m", path);
	return false;
}

void crash_points_end(struct crash *crash)
{
	printf("1..%zu\n", crash->point_count);
	bool written = fflush(stdout) == 0 && !ferror(stdout) && write_report(crash, "");
	clear_live_line();
	if (!written)
		refuse("the result could not be written");
	report("%s survived it (%u kills in %u run%s, %.1f s, seed %lu)", crash->name, crash->kills_done, crash->runs,
	       crash->runs == 1 ? "" : "s", seconds_so_far(crash), (unsigned long)crash->options.seed);
}

void crash_points_skip(struct crash *crash)
{
	static const char reason[] = "it cannot run here: exit status 77";
	struct crash_point *point = add_point(crash, format_text("undisturbed run"));
	point->skipped = true;
	point->problem = format_text("%s", reason);
	clear_live_line();
	printf("TAP version 13\n1..0 # SKIP %s\n", reason);
	fflush(stdout);
	write_report(crash, "");
	report("skipped %s: %s", crash->name, reason);
	exit(EXIT_SKIPPED);
}

/* "KEY: "VALUE"" of a YAML block; the escapes are those of JSON. */
static void print_yaml(const char *key, const char *value)
{
	printf("  %s: \"", key);
	for (; *value != '\0'; value++) {
		if (*value == '"' || *value == '\\')
			printf("\\%c", *value);
		else if ((unsigned char)*value < ' ')
			printf("\\u%04x", (unsigned char)*value);
		else
			putchar(*value);
	}
	printf("\"\n");
}

static void print_log(const char *text)
{
	while (*text != '\0') {
		int length = (int)strcspn(text, "\n");
		printf("# %.*s\n", length, text);
		text += length + (text[length] == '\n');
	}
}

void crash_fail(struct crash *crash, const char *format, ...)
{
	char problem[512];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(problem, sizeof(problem), format, arguments);
	va_end(arguments);
	crash_note(crash, "FAILED: %s", problem);
	const char *evidence = crash_keep_evidence(crash);
	char *tail = crash_log_tail(crash), *again = crash_command_line(crash);
	if (crash->points_decided == crash->point_count)
		add_point(crash, crash->runs > 0 ? format_text("run %u", crash->runs) : format_text("undisturbed run"));
	while (crash->points_decided < crash->point_count)
		print_point(crash, problem);
	printf("  ---\n");
	print_yaml("message", problem);
	print_yaml("again", again);
	print_yaml("evidence", evidence);
	printf("  ...\n");
	print_log(tail);
	printf("1..%zu\n", crash->point_count);
	fflush(stdout);
	write_report(crash, tail);
	free(tail);
	free(again);
	clear_live_line();
	report("%s: %s; after %u of %u kills, seed %lu, see %s", crash->name, problem, crash->kills_done,
	       crash->options.kills, (unsigned long)crash->options.seed, evidence);
	exit(EXIT_FAILURE);
}

void crash_points_interrupted(struct crash *crash)
{
	clear_live_line();
	if (crash->points_decided == 0)
		return;
	printf("Bail out! interrupted\n");
	fflush(stdout);
}
