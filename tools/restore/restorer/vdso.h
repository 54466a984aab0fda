/*
 * The vDSO of another kernel: the program's pointers lead into the old one, so that stays where it
 * was, as ordinary memory, and each of its functions jumps to this kernel's.
 */
#ifndef RESTORE_VDSO_H
#define RESTORE_VDSO_H

#include <stdbool.h>

#include "plan.h"
#include "restore/image.h"

/*
 * Decides where this kernel's own mappings go: to the program's old places, when it is the same vDSO,
 * or else to free ones with the patches of the old one. Fills plan->special and plan->patches, sets
 * plan->foreign_vdso; refuses, when there is no way.
 */
void plan_vdso(const struct image *image, struct plan *plan);

#endif
