/* System calls by way of syscall(2), see wait.c. */
#ifndef SHIM_SYSTEM_CALL_H
#define SHIM_SYSTEM_CALL_H

/* The call with its six arguments; errno as syscall() leaves it. */
long shim_system_call(long number, const long arguments[6]);

/* SYS_futex. */
long shim_futex(const long arguments[6]);

#endif
