/*
 * Calls that the kernel never restarts after a signal, and whose timeout is relative.
 *
 * When the straggler signal interrupts such a call, its handler makes the call again with the
 * time that is left. A wrapper describes its call here for as long as it lasts; calls with
 * an absolute timeout or none need no description.
 */
#ifndef RT_WAIT_H
#define RT_WAIT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum rt_wait_kind {
	RT_WAIT_MILLISECONDS, /* the timeout is an int in a register, -1: none */
	RT_WAIT_TIMESPEC,     /* the timeout is in `timespec`, which the kernel reads again */
	RT_WAIT_SOCKET,       /* the timeout is an option of the socket: the wrapper makes the call again */
	RT_WAIT_NUMBER,       /* only `number` is said, where the code does not show it */
};

struct rt_wait {
	long number; /* the system call */
	enum rt_wait_kind kind;
	bool interrupted;          /* RT_WAIT_SOCKET: set when only our signal has ended the call */
	int argument;              /* which argument is the timeout: 0 to 5 */
	int64_t deadline_ns;       /* CLOCK_MONOTONIC; INT64_MAX: no timeout */
	int64_t left_ns;           /* at the stop; the handler's own */
	struct timespec *timespec; /* RT_WAIT_TIMESPEC: the wrapper's private copy */
	struct rt_wait *outer;     /* the interrupted wait of the code a signal handler runs over */
};

/* Starts and ends a description; `wait` lives on the caller's stack. */
void rt_wait_begin(struct rt_wait *wait);
void rt_wait_end(struct rt_wait *wait);

#endif
