/*
 * Threads of the program: their records, parking at restart points, the straggler signal.
 *
 * The records live in the image, in a table at a fixed address, and hold what only the thread
 * itself can ask the kernel for. A thread gets its record the first time it reaches a restart
 * point or the straggler signal: threads made by libc's own means are found all the same.
 */
#ifndef RT_THREAD_H
#define RT_THREAD_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "root.h"

struct rt_wait;

#define RT_MAX_THREADS 65536

/* The kernel's struct sigaction on x86-64. */
struct rt_kernel_sigaction {
	void (*handler)(int, siginfo_t *, void *);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

#define RT_SA_RESTORER 0x04000000UL

/* What libc changes in all threads together; compared as a whole. */
struct rt_credentials {
	uint32_t uid[3], gid[3];                    /* real, effective, saved */
	uint64_t effective, permitted, inheritable; /* capabilities; bit n is number n */
};

struct rt_thread {
	int tid;               /* 0: the record is free */
	uint32_t parked_round; /* the round it is parked for, see engine.gate */
	uint64_t context;      /* published stack pointer while parked */
	uint64_t tls_base, gs_base;
	uint64_t clear_child_tid;
	uint64_t robust_list, robust_list_length;
	uint64_t rseq_address;
	uint32_t rseq_length;
	uint32_t postponed; /* was in the vDSO when the signal came: signal it again */
	uint32_t by_signal; /* parked in the straggler handler this time */
	stack_t alternate_stack;
	uint64_t timer_slack; /* nanoseconds */
	/* of the main thread only: */
	uint32_t secure_bits;
	int32_t parent_death_signal;
	char name[16];
};

/* Per-thread state the fast paths touch; initial-exec TLS. */
struct rt_local {
	int lock_depth; /* locks held, as counted by the wrappers; a hint, never trusted */
	struct rt_thread *thread;
	/* A call that never restarts after a signal and whose timeout is relative: see wait.h. */
	struct rt_wait *wait;
	bool saving; /* in a section of undo.h */
	/* A stop may have ended a call with a part of what it was to do, and no handler of the program's has returned
	 * since. Wrappers clear it. */
	bool cut_short;
};

extern __thread struct rt_local rt_local;

/* Those of the calling thread. */
void rt_credentials_read(struct rt_credentials *credentials);
void rt_credentials_set_capabilities(const struct rt_credentials *credentials);

/* Maps the table of records. 0 or -errno. */
int rt_threads_start(void);

/* In a fork child: none of the threads is there. */
void rt_threads_forget(void);

/* The record of a thread, or NULL. Checkpoint thread. */
struct rt_thread *rt_thread_find(int tid);

/* Highest index in use + 1, for walks over rt_thread_at(). */
int rt_thread_table_size(void);
struct rt_thread *rt_thread_at(int index);

/* Whether the calling process heeds stops. One system call. */
bool rt_can_be_stopped(void);

/* Parks the caller if a stop is going on. Its signals are all blocked. Returns whether this is the
 * restored process. */
bool rt_thread_stop(bool by_signal);

/* Instead of rt_thread_stop(): asks for the signal again in a moment. */
void rt_thread_postpone(void);

/* Slow half of a restart point: parks the caller if a checkpoint is going on. errno is kept. */
void rt_restart_point_slow(void);

/* A restart point: call with no lock of the runtime held. */
static inline void rt_restart_point(void)
{
	if (__builtin_expect(__atomic_load_n(&rt_root.wanted, __ATOMIC_RELAXED), 0))
		rt_restart_point_slow();
}

/* Installs the handler of the straggler signal, for the thread's alternate stack if it has one or the stack that it
 * runs on. 0 or -errno. */
int rt_straggler_install(int signal, bool on_alternate_stack);

/* Where the program ignores that number: lets the kernel ignore it, as a program that is executed inherits it, and gives
 * back whether it does, and in *kept what rt_straggler_catch() undoes it with. While checkpoints are paused. */
bool rt_straggler_ignore(struct rt_kernel_sigaction *kept);
void rt_straggler_catch(const struct rt_kernel_sigaction *kept);

/* Interrupts a thread so that it parks in the handler. Checkpoint thread. 0 or -errno. */
int rt_straggler_send(int tid);

/* Whether this signal is one of rt_straggler_send(), or one of the program's with the same number. */
bool rt_straggler_is(const siginfo_t *info);

/* Whether the program has a handler for that number. */
bool rt_straggler_is_shared(void);

/* What the program asked sigaction() for on the straggler signal; kept, never installed. */
extern struct sigaction rt_straggler_shadow;

#endif
