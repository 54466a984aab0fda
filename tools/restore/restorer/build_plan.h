/* Making the plan of a restore from its image; see plan.h. Runs in the new process. */
#ifndef RESTORE_BUILD_PLAN_H
#define RESTORE_BUILD_PLAN_H

#include "plan.h"
#include "restore/image.h"

/* Refuses, naming it, when a file the process has mapped is missing or was changed since. */
void check_files(const struct image *image);

/* Lays out the restorer's block and opens what it needs, all descriptors >= lowest_fd. */
struct plan *build_plan(const struct image *image, int lowest_fd, int lock_fd);

/* The rest of the plan, after the descriptors and the shared memory are there. */
void complete_plan(const struct image *image, struct plan *plan);

/* Jumps into the restorer. */
void enter_restorer(struct plan *plan) __attribute__((noreturn));

#endif
