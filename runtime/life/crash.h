/*
 * Crashes of the program's own: SIGSEGV and its like where the program leaves them to their default.
 *
 * The runtime catches them, writes down what happened, and lets the default take its course: the
 * process ends with the status, and the core file, it would have had. The program cannot tell: the
 * shim reports SIG_DFL for the handler here, and a handler of the program's own takes its place.
 *
 * The record is the file `crash` of the store, an ELF core file of one thread: a PT_NOTE segment with
 * NT_PRSTATUS, NT_SIGINFO, NT_AUXV, NT_FILE and a note of our own, then one PT_LOAD with what was on the
 * stack. The file is opened at start, as a program that has changed its user could not do it later. It
 * is written from the back; the ELF header comes last, so a file without one is no record.
 */
#ifndef RT_CRASH_H
#define RT_CRASH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct engine;

#define CRASH_FILE "crash"
#define CRASH_NOTE_OWNER "respct"
#define CRASH_NOTE_TYPE 1
#define CRASH_STACK_LIMIT (256 * 1024) /* bytes of stack in a record */
#define CRASH_HEAD_LIMIT (256 * 1024)  /* bytes in front of them */

/* The note of our own. */
struct crash_note {
	uint64_t owner_start; /* start time of the process, as in the store's commit record: which life it was */
	int64_t realtime_ns;  /* CLOCK_REALTIME */
	int32_t pid;          /* of the process; the thread's is in NT_PRSTATUS */
	uint32_t truncated;   /* NT_FILE does not have all mapped files */
	char thread_name[16];
};

/* Makes room for a record. Once for each engine, by its maker. 0 or -errno. */
int rt_crash_open(struct engine *engine);

/* Removes the record of an earlier run. */
void rt_crash_clear(struct engine *engine);

/* Whether a signal is one of those. */
bool rt_crash_watches(int signal);

/* Catches those the program leaves to their default. At start and at resume. */
void rt_crash_install(void);

/* What SA_RESETHAND does: the signal has its default again, with the flags and mask of `asked`. In a handler. */
void rt_crash_reset(int signal, const struct sigaction *asked);

/* What the program asked for with SIG_DFL, of signals for which the handler stands in. */
extern struct sigaction rt_crash_defaults[NSIG];

/* Leaves them to their default again: in a fork child. */
void rt_crash_remove(void);

/* The handler. */
void rt_crash_handle(int signal, siginfo_t *info, void *context);

#endif
