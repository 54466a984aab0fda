/* futex(2) by way of syscall(2), see wait.c. */
#ifndef SHIM_FUTEX_H
#define SHIM_FUTEX_H

/* The call with its six arguments; errno as syscall() leaves it. */
long shim_futex(const long arguments[6]);

#endif
