/* Asynchronous I/O by the kernel (io_uring, io_setup()), which no restore can bring back; see async_io.c. */
#ifndef SHIM_ASYNC_IO_H
#define SHIM_ASYNC_IO_H

#include <stdbool.h>

/* Whether this system call asks for it and the program is to be told that there is none: ENOSYS. Any thread. */
bool shim_denies_async_io(long number);

#endif
