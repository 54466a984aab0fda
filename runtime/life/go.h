/* Programs in Go, whose runtime calls the kernel without libc. */
#ifndef RT_GO_H
#define RT_GO_H

#include <stdbool.h>

/*
 * Whether the program, or a library it starts with, is in Go. Go's stacks have no room for a signal's frame: handlers
 * must run on the alternate stack, which each of its threads has (package os/signal, "Non-Go programs that call Go
 * code"). And one of its threads blocks most signals, by raw system calls. While the runtime starts.
 */
bool rt_has_go(void);

#endif
