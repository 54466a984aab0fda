/*
 * What the parts of the soak share: an episode, which is one workload in one of the ways it is run, in a process of its
 * own. Nothing here is shared between threads. What cannot go on ends the process, by fail() or refuse().
 */
#ifndef SOAK_EPISODE_H
#define SOAK_EPISODE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

#include "measure.h"
#include "tests/e2e/harness.h"

#define MILLISECOND 1000000LL
#define SECOND (1000 * MILLISECOND)

enum kind { VICTIM, MEMCACHED, REDIS };

struct workload {
	const char *name;
	enum kind kind;
	int share; /* of the time, relative to the others */
};

/* What the episodes tell the process that counts; mapped shared. */
struct totals {
	int kills, episodes, failed, grown, skipped;
};

extern struct totals *totals;

struct episode {
	const struct workload *workload;
	bool verify;
	long user;  /* as in struct launch */
	char *name; /* workload and how it is run */
	int minimum_ms, maximum_ms;
	uint64_t seed, random_state;
	char *work, *store, *program_directory, *load_directory, *port;
	FILE *log_file, *messages, *record; /* what happens; what is said on stderr; the samples */
	int error_pipe[2];
	int64_t begin_ns, deadline_ns;
	uint64_t epoch; /* of the last kill */
	pid_t client;   /* 0: none */
	struct sample *samples;
	int sample_count, kills, lines_said;
};

extern struct episode episode;

/* ---- the process of an episode ---- */

/* A line for the log. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The episode has failed: keeps what is there, and ends it. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

double seconds_so_far(void);
void make_places(void);
void make_directory(const char *path);

/* When a step that begins now hangs, ns. */
int64_t watchdog(void);

/* True when the process ended before `until_ns`; a client that ends badly meanwhile is the verdict. */
bool wait_until(pid_t process, int64_t until_ns, int *status);
void look_at_client(int64_t until_ns);

/* `output` negative: with the messages. */
pid_t start(char *const *arguments, const char *directory, int output, long as_user, bool verified);

/* ---- lives of the program ---- */

pid_t start_first_life(char *const *program, int output);
pid_t start_restored_life(void);
struct store_view view_store(void);

/* Waits until this life has committed a checkpoint and the store names it. 0 when it ended first. */
pid_t wait_for_progress(pid_t process, int *status);

/* From a start or a restore to the next kill. False when the program ended by itself, *status set. */
bool live_until_killed(pid_t process, int *status);

/* The kill was survived: counts it. */
void survived(void);
void expect_nothing_said(void);

/* ---- what is done in one ---- */

void choose_port(void);
void soak_memcached(void);
void soak_redis(void);
void soak_victim(void);

#endif
