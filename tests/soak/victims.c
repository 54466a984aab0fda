/* A victim, run from start to end again and again, killed all the time. */
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
#include "episode.h"
#include "outside.h"

static char *scale; /* how much the victim does, for it to last */

static char *const *victim_arguments(void)
{
	static char *arguments[3];

	arguments[0] = harness_build_path(format_text("tests/victims/%s", episode.workload->name));
	arguments[1] = scale;
	return arguments;
}

static int open_output(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		refuse("%s: %s", path, strerror(errno));
	harness_give(path, episode.user);
	return fd;
}

static void new_program_directory(void)
{
	remove_tree(episode.program_directory);
	make_directory(episode.program_directory);
}

static void __attribute__((noreturn)) skip(void)
{
	printf("skipped %s: it cannot run here\n", episode.name);
	exit(77);
}

/* Runs the victim without respct; how long it took. */
static int64_t run_undisturbed(const char *output_path)
{
	char *const *arguments = victim_arguments();
	int64_t started = now_ns();
	int output = open_output(output_path), status;
	pid_t victim;

	new_program_directory();
	victim = start(arguments, episode.program_directory, output, episode.user, false);
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
	char *output_path = format_text("%s/output", episode.work);
	int output = open_output(output_path), status;
	bool killed;
	pid_t victim;

	remove_tree(episode.store);
	new_program_directory();
	episode.epoch = 0;
	victim = start_first_life(victim_arguments(), output);
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
void soak_victim(void)
{
	char *expected = format_text("%s/expected", episode.work);
	int64_t wanted = (episode.deadline_ns - now_ns()) / 6, took;

	scale = "100";
	took = run_undisturbed(expected);
	if (took < wanted) {
		scale = format_text("%lld", (long long)(100 * wanted / took));
		took = run_undisturbed(expected);
	}
	note("undisturbed %lld ms, scale %s", (long long)(took / MILLISECOND), scale);
	do {
		run_killed(expected);
	} while (now_ns() < episode.deadline_ns);
}
