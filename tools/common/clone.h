/* A child with a number of the caller's choice, or in new namespaces: what fork(3) does not offer. */
#ifndef TOOLS_CLONE_H
#define TOOLS_CLONE_H

#include <stdint.h>
#include <sys/types.h>

/* As fork(2), with the CLONE_ flags of clone3(2) and the number `pid` (0: any). Like _Fork(3), it runs no handlers of
 * pthread_atfork(). -1 and errno on failure; EPERM: the number cannot be chosen, or namespaces are not permitted. */
pid_t clone_process(uint64_t flags, pid_t pid);

#endif
