/* Which files other processes have mapped shared. */
#ifndef RESTORE_OTHERS_H
#define RESTORE_OTHERS_H

#include <stdbool.h>
#include <stdint.h>

/* Looks at all processes that may be looked at. In the tool: from within a user namespace none may. */
void others_look_around(void);

/* What was found then. */
bool others_have_mapped(uint64_t device, uint64_t inode);

#endif
