/* Making the process that is to become the old one: with its old number, directly or in a namespace. */
#ifndef RESTORE_PROCESS_H
#define RESTORE_PROCESS_H

#include <sys/types.h>

/*
 * Creates a child with the process number `pid` and calls become(argument) in it, which must
 * not return. With the privilege to choose numbers and the number free, the child is an ordinary
 * one; otherwise it lives in a pid namespace of its own (with a user namespace where there is no
 * privilege), in which it sees its old number. Returns the number by which the caller knows the
 * child; refuse()s when neither is permitted.
 */
pid_t spawn_with_pid(pid_t pid, void (*become)(void *), void *argument);

/* Waits for that child, handing it the signals that are sent to us; returns its wait(2) status. */
int wait_and_forward(void);

#endif
