/*
 * respct crash: kills a program again and again under respct, restores it each time, and says whether it could tell.
 *
 *   options.c      the command line
 *   places.c       the directory of a session, the log, the evidence of a failure
 *   plan.c         which kill comes when, from the seed
 *   undisturbed.c  the run that is the measure
 *   life.c         one life of the program: started or restored, watched, killed
 *   run.c          lives from a start to an end, and the verdict
 *   points.c       test points: TAP on stdout, progress on stderr
 *   junit.c        the same as JUnit XML
 *   xml.c          text in XML
 *
 * A run is the program from its start to its own end, through any number of kills; a life lasts from a start or a
 * restore to a kill or the end. When a run ends before all kills are made, another one follows. The first failure
 * ends the session: crash_fail() does not return.
 */
#ifndef RESPCT_CRASH_H
#define RESPCT_CRASH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "store/store.h"

#define MILLISECOND 1000000LL
#define SECOND 1000000000LL
#define EXIT_SKIPPED 77 /* as automake has it: the program cannot run on this machine */

enum crash_mode { MODE_RANDOM, MODE_COMMIT, MODE_ALL };

struct crash_options {
	unsigned kills;
	uint64_t seed;
	enum crash_mode mode;
	int minimum_ms, maximum_ms; /* when to kill, after a start; 0: not said */
	int timeout_s;              /* 0: not said */
	int end_signal;             /* what ends the program, 0: it ends by itself */
	bool verify, same_output, scratch;
	const char *interval, *durability;  /* for respct run */
	const char *expected;               /* file that keeps the undisturbed output, or NULL */
	const char *check, *client, *setup; /* shell commands */
	const char *input, *store, *report, *keep;
	char **program;     /* and its arguments, ending with NULL */
	int argument_count; /* the command line, to say how to do it again */
	char **arguments;
};

#define STEP_SIZE 64 /* bytes of a fail point's name with action and count */

/* What is done to one life. */
enum kill_kind {
	KILL_RANDOM,       /* at an instant after it has committed a checkpoint */
	KILL_EARLY,        /* soon after the restore has begun, maybe before the program runs */
	KILL_RESTORE,      /* the same, and the restorer with it */
	KILL_STEP,         /* at a step of a checkpoint */
	KILL_RESTORE_STEP, /* at a step of the restore */
};

struct planned_kill {
	enum kill_kind kind;
	double instant;       /* 0..1 of the time there is for it */
	double second;        /* 0..1, for a second choice */
	char step[STEP_SIZE]; /* what RESPCT_FAIL is to be, for the last two kinds; "" for others */
};

/* What the end of a run must be like. */
struct expectation {
	int status; /* wait status */
	int duration_ms;
	char *output; /* path of what it wrote */
};

/* One kill, from the moment it is made until the life after it has proved that it was survived; or an end. */
struct crash_point {
	char *name;
	char *problem; /* NULL: as it must be */
	bool skipped;
	double seconds;
};

struct crash {
	struct crash_options options;
	const char *name; /* of the program, without directories */

	char *work, *store, *directory; /* absolute paths; `directory` is where the program runs */
	bool store_is_ours;
	FILE *log;
	int error_pipe[2]; /* every life's stderr, read into the log */
	int input;

	struct expectation expected;
	pid_t client; /* 0: none, or it has ended well */

	unsigned kills_done, runs;
	unsigned fruitless_runs; /* the last ones that ended before they could be killed */
	int64_t restore_ns;      /* from the start of a restore to its first checkpoint, the longest so far */

	struct crash_point *points;
	size_t point_count, points_decided; /* the rest waits for proof */
	int64_t began_ns, point_began_ns;
};

/* ---- options.c ---- */

void crash_parse_options(struct crash_options *options, int argc, char **argv);

/* The command line that does the same again, in a buffer of its own. */
char *crash_command_line(const struct crash *crash);

/* ---- places.c ---- */

/* Makes the directories; everything of the session is removed when the command ends. */
void crash_make_places(struct crash *crash);
/* The directory the program runs in, as each run finds it. */
void crash_prepare_directory(struct crash *crash);
char *crash_path(const struct crash *crash, const char *name);
/* A file of this name in the session's directory, empty, for a program's stdout. */
int crash_open_output(const struct crash *crash, const char *name);
/* A line in the log, with the time. */
void crash_note(struct crash *crash, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Kills everything and leaves what there is to see where the result says, a path. */
const char *crash_keep_evidence(struct crash *crash);
/* The last lines of the log, in a buffer of its own. */
char *crash_log_tail(struct crash *crash);

/* ---- plan.c ---- */

/* What to do to the life that kill `number` (from 1) ends. Depends on nothing else. */
void crash_plan(uint64_t seed, enum crash_mode mode, unsigned number, struct planned_kill *planned);

/* ---- undisturbed.c ---- */

/* Runs it, or takes the result of an earlier time. */
void crash_run_undisturbed(struct crash *crash);
/* Whether a run's output is that one; else the line in which they part. */
bool crash_output_is_expected(struct crash *crash, const char *output, long *line);

/* ---- life.c ---- */

/* Starts any program beside us; `environment` as in struct launch. */
pid_t crash_start(struct crash *crash, char *const *arguments, int output, char *const *environment);
/* Runs a shell command with RESPCT_STORE, RESPCT_PID and RESPCT_KILL set; false when it has taken too long. */
bool crash_shell(struct crash *crash, const char *command, pid_t pid, int *status);
void crash_start_client(struct crash *crash);
/* Waits for the client; one that hangs or ends badly is the verdict. */
void crash_finish_client(struct crash *crash);
/* The client of a server that a signal is going to end has come to its end when this returns. */
void crash_end_server(struct crash *crash, pid_t child, int *status);
/* True when `child` ended before the deadline, *status set. Looks after the client. */
bool crash_wait(struct crash *crash, pid_t child, int64_t deadline_ns, int *status);
int64_t crash_watchdog(const struct crash *crash);
void crash_fail_hung(struct crash *crash, const char *what) __attribute__((noreturn));
/* The state of the store: false when it cannot be read now. */
bool crash_store_status(const struct crash *crash, struct store_status *status);

/* How a life ended. */
enum life_end {
	LIFE_KILLED,         /* and can be restored */
	LIFE_KILLED_UNBORN,  /* before its first checkpoint */
	LIFE_ENDED,          /* by itself, *status set */
	LIFE_KILLED_IN_EXIT, /* it had called exit() when the kill came */
};

/* Starts or restores the program, and kills it as planned; without a plan lets it end. */
enum life_end crash_live(struct crash *crash, bool restored, const struct planned_kill *planned, int *status);

/* ---- run.c ---- */

/* Runs it until all kills are made. */
void crash_run_all(struct crash *crash);

/* ---- points.c ---- */

/* A kill has been made, and is to be survived; `how` says where it was. */
void crash_point_killed(struct crash *crash, const char *how);
/* All kills made so far have been survived. */
void crash_points_survived(struct crash *crash);
/* A run has ended as it must. */
void crash_point_ended(struct crash *crash, int status);
/* All has been done. */
void crash_points_end(struct crash *crash);
/* Nothing can be tested on this machine. */
void crash_points_skip(struct crash *crash) __attribute__((noreturn));
/* What was not survived, or did not end as it must; ends the command with status 1. */
void crash_fail(struct crash *crash, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
/* A signal has ended the command. */
void crash_points_interrupted(struct crash *crash);
/* A live line, where stderr is a terminal; a line now and then, where it is not. */
void crash_progress(struct crash *crash, const char *what);

/* ---- junit.c ---- */

/* Writes the report; false with errno set when that fails. */
bool crash_write_junit(const struct crash *crash, const char *path, const char *log_tail);

/* ---- xml.c ---- */

/* Text as it may stand in XML, attributes too; in a buffer of its own. */
char *crash_escape_xml(const char *text);

#endif
