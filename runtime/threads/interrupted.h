/*
 * System calls that a signal interrupts: the program's own handlers must end them as if the runtime were not there, its
 * stops must not be seen.
 *
 * The registers of a thread behind a `syscall` instruction with EINTR do not say who has ended the call. It may have been
 * the stop, and then it is to be made again; but the signal of a stop may also come while the kernel returns from a
 * handler of the program's that has ended the call, and then EINTR stands, or the thread would sleep on for good. The
 * other way round, a call that is to be made again after a stop has been interrupted just before when a handler comes:
 * it must end.
 *
 * RCX tells these apart. The instruction leaves its return address there, whatever was there before, so no code reads it
 * behind the instruction or needs it in front. What handlers of the program's return by (handler.h) writes CALL_ENDED to
 * it, behind the instruction, and a stop writes CALL_AGAIN, in front of it.
 */
#ifndef RT_INTERRUPTED_H
#define RT_INTERRUPTED_H

#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

struct rt_wait;

#define NEVER_SYSCALL (-1)

/* The description that a wrapper gave of the call the thread is in, or NULL. Of the calling thread, in a handler. */
struct rt_wait *rt_described_wait(const greg_t *registers);

/* Whether the thread has come out of a system call, and no handler has run since. */
bool rt_is_behind_call(const greg_t *registers);

/* The number of the interrupted call that the kernel will not make again, and we can. Or NEVER_SYSCALL. */
long rt_interrupted_call(const greg_t *registers);

/* Whether the thread is about to make this call. */
bool rt_is_before_call(const greg_t *registers, long number);

/*
 * After what ends no call (SIGCONT, a debugger) the kernel goes on with some by restart_syscall(2), which a signal handler
 * makes fail, and another process does not have: takes the call back out, as one that was interrupted.
 */
void rt_undo_restart_syscall(greg_t *registers);

/* Makes an interrupted call again. */
void rt_make_call_again(greg_t *registers, long number);

/* What the thread has come out of, it has come out of for good. */
void rt_end_interrupted_call(greg_t *registers);

/* A call that the kernel will make again, and that a handler of the program's is still to be able to end. */
void rt_mark_restarted_call(greg_t *registers);

/* Ends a call that is about to be made again. With `always`, also one that handlers with SA_RESTART do not end. */
void rt_end_restarted_call(greg_t *registers, bool always);

#endif
