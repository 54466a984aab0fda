/*
 * Stacks of threads, in the window.
 *
 * A stack belongs to a thread from stack_take() until libc and the kernel are done with it: the
 * thread has been joined or detached, and the kernel has cleared its thread id, which it does last.
 *
 * libc takes them for stacks of the program's own, and leaves to it what it does for those it maps itself: the guard, and
 * memory that can be executed where the program or a library wants that (PT_GNU_STACK: functions of GNU C within others).
 * So that is done here, for threads that run already at the next stack_take(), where libc does it within dlopen().
 * All functions are thread-safe.
 */
#ifndef SHIM_STACK_H
#define SHIM_STACK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct stack {
	char *mapping;      /* the guard, then the stack proper; NULL: the entry is unused */
	size_t guard, size; /* bytes of each */
	bool taken;
	bool released;    /* joined or detached: nobody will ask libc for the thread any more */
	int *tid_address; /* where the kernel clears the thread id; NULL until the thread has started */
	void *(*start)(void *);
	void *argument;
};

/* A stack of `size` bytes above a guard of `guard` bytes, or NULL: let libc provide one. */
struct stack *stack_take(size_t size, size_t guard);

/* Gives back a stack whose thread was not created. */
void stack_return(struct stack *stack);

/* The thread was joined or detached. */
void stack_release(pthread_t thread);

/* Bytes of the guard below the stack of a thread that has not ended; 0 when the stack is not one of ours. */
size_t stack_guard(pthread_t thread);

/* For pthread_atfork(): nobody is at the stacks while the process is copied. */
void stack_prepare_fork(void);
void stack_after_fork(void);

#endif
