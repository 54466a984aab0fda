/* Making the process that is to become the old one: with its old number, directly or in a namespace. */
#ifndef RESTORE_PROCESS_H
#define RESTORE_PROCESS_H

#include <sys/types.h>

/*
 * Runs become(argument), which must not return, in a child with the process number `pid`, and
 * waits for it, handing it the signals that are sent to us. started(number) is called with the
 * number by which the caller knows the child.
 *
 * With the privilege to choose numbers and all of them free, the child is an ordinary one;
 * otherwise it lives in a pid namespace of its own (with a user namespace where there is no
 * privilege), in which it sees its old number. refuse()s when neither is permitted. Returns the
 * child's wait(2) status.
 */
int run_with_pid(pid_t pid, void (*become)(void *), void *argument, void (*started)(pid_t));

#endif
