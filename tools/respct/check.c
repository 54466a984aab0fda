/* respct check: what this machine can do, one line each. */
#include <argp.h>
#include <errno.h>
#include <linux/sched.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/message.h"
#include "commands.h"
#include "common/clone.h"
#include "common/report.h"
#include "store/persist.h"
#include "track/track.h"

static bool check_tracking(void)
{
	const char *step = "", *name = getenv(RT_TRACK_VARIABLE);
	enum rt_track_kind wanted = rt_track_named(name), kind;
	if (wanted == RT_TRACK_KINDS)
		refuse(RT_TRACK_VARIABLE "=%s: not " RT_TRACK_NAMES, name);
	int result = rt_track_choose(wanted, &kind, &step);
	if (result == 0)
		printf("tracking: %s: %s\n", rt_track_name(kind), rt_track_description(kind));
	else
		printf("tracking: none: %s: %s\n", step, rt_error_text(result));
	if (wanted != RT_TRACK_ANY)
		return result == 0;
	for (enum rt_track_kind better = RT_TRACK_ANY + 1; better < kind; better++)
		if ((result = rt_track_self_test(better, &step)) < 0)
			printf("tracking: not %s: %s: %s\n", rt_track_name(better), step, rt_error_text(result));
	return kind != RT_TRACK_ANY;
}

/* Tries to create a child, which ends at once. */
static bool can_clone(uint64_t flags, pid_t pid)
{
	pid_t child = clone_process(flags, pid);
	if (child == 0)
		_exit(0);
	if (child < 0)
		return false;
	waitpid(child, NULL, 0);
	return true;
}

/* A number that was just in use is free again. */
static pid_t free_number(void)
{
	pid_t child = fork();
	if (child == 0)
		_exit(0);
	waitpid(child, NULL, 0);
	return child;
}

static bool check_restore(void)
{
	bool direct = can_clone(0, free_number());
	uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER);
	bool namespaces = can_clone(flags, 0);
	printf("restore: %s%s\n", direct ? "process numbers can be chosen" : "process numbers cannot be chosen",
	       namespaces ? "; pid namespaces are permitted" : "; pid namespaces are not permitted");
	if (!direct && !namespaces)
		printf("restore: impossible here: allow user namespaces (kernel.unprivileged_userns_clone, "
		       "kernel.apparmor_restrict_unprivileged_userns) or run as root\n");
	return direct || namespaces;
}

static void check_place(void)
{
	char base[PATH_MAX];
	int dax = default_base(base);
	printf("store: %s (survives %s)\n", base, dax ? "a loss of power" : "the process, not a loss of power");
	printf("libpmem: %s\n", rt_persist_load_libpmem() == 0 ? "yes" : "no");
}

static error_t parse_nothing(int key, char *argument, struct argp_state *state)
{
	(void)state;
	if (key == ARGP_KEY_ARG)
		refuse("%s: no argument is wanted here (try --help)", argument);
	return ARGP_ERR_UNKNOWN;
}

int command_check(int argc, char **argv)
{
	static const struct argp parser = {
		.parser = parse_nothing,
		.doc = "Say what this machine can do."
		       "\vExit status 0: programs can be protected and restored here; 1: they cannot."};
	struct utsname name;
	parse_arguments(&parser, argc, argv, 0, NULL);
	uname(&name);
	printf("kernel: %s %s\n", name.release, name.machine);
	bool tracking = check_tracking();
	bool restore = check_restore();
	check_place();
	return tracking && restore ? 0 : 1;
}
