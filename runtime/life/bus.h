/*
 * SIGBUS: what a store does to the runtime when somebody cuts its files short, or their device fails.
 *
 * The runtime stores into mappings of the log, the commit records and the undo log. A page of such a mapping that
 * its file no longer has is replaced by memory of no file, and the access goes on: nothing has to be unwound, and
 * what was stored there is lost. The store is marked (rt_store_note_fault()), commits nothing from then on, and
 * starts over.
 *
 * So the runtime's handler comes first, always. What the program asked for is called in its place, in the same frame,
 * with its own flags and mask; a SIGBUS that the program leaves to its default is a crash (crash.h). Two kinds of
 * threads have SIGBUS unblocked although the program does not know: the checkpoint thread, and a thread that saves
 * how a file was (undo.h). A SIGBUS that was sent, and that the kernel delivers there, is sent on.
 */
#ifndef RT_BUS_H
#define RT_BUS_H

#include <signal.h>
#include <stdbool.h>

struct engine;

/* What the program asked for, while rt_bus_handle() stands in. In the image. */
extern struct sigaction rt_bus_asked;

/* Stands in for a handler of the program's. */
void rt_bus_handle(int signal, siginfo_t *info, void *context);

/* In any handler of SIGBUS: whether the runtime has dealt with it, so that the handler is to return. */
bool rt_bus_take(const siginfo_t *info, void *context);

/* Checkpoint thread, before each checkpoint: has SIGBUS unblocked unless one is pending for the others. */
void rt_bus_unblock(struct engine *engine);

#endif
