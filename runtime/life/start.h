/* Starting, ending and leaving protection. Called by the shim on program threads. */
#ifndef RT_START_H
#define RT_START_H

#include "engine.h"

/* The options of this run, from RESPCT_* at start; in the image, so that a restored process keeps them. */
extern struct engine_options rt_options;

/* Reads the environment and, when a store is named and this process is to be protected, starts the
 * runtime. Refuses (one line, exit status 125) what cannot be protected. Once, before main(). */
void rt_start(void);

/* The process ends by itself with this wait(2) status: the store then holds nothing to restore. */
void rt_finish(int wait_status);

/* Before a fork: from now on another process may write the memory that is mapped shared. */
void rt_note_fork(void);

/* The half of it that writes the store; no checkpoint may be going on. Any thread. */
void rt_end_store(struct engine *engine, int wait_status);

/* In a fork child: it runs on unprotected. The straggler signal stays ours, as the child may be protected later. */
void rt_leave_child(void);

/* rt_finish() has been called. */
extern int rt_finished;

/* DIR/pid. Raw system calls. 0 or -errno. */
int rt_write_pid_file(void);

/* The engine's memory; once in the life of a process. NULL: there is none. */
struct engine *rt_engine_make(void);

/* Opens what the engine needs; used at start and at resume, so no libc. `store` is open and locked. 0 or
 * -errno; *step says what failed. */
int rt_engine_open(struct engine *engine, struct store *store, const char **step);

uint64_t rt_process_start_time(void);

#endif
