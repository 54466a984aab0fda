/*
 * The runtime's own descriptors: moved to high numbers and hidden from the program.
 *
 * Lock-free; the set only changes at start. Any thread.
 */
#ifndef RT_HIDDEN_H
#define RT_HIDDEN_H

#include <stdbool.h>

/* The lowest number the runtime's descriptors may take. */
int rt_hidden_floor(void);

/* Moves `fd` to a high number, close-on-exec, and hides it. Returns the new number or -errno; the
 * old one is closed in any case. Negative numbers (errors) are passed through. */
int rt_hide(int fd);

/* Hides a descriptor where it is. */
void rt_hide_in_place(int fd);

void rt_unhide(int fd);

/* Whether `fd` is one of the runtime's. */
bool rt_is_hidden(int fd);

/* The lowest hidden descriptor >= fd, or -1. */
int rt_next_hidden(int fd);

/* Empties the set without closing anything: in a restored process, whose descriptors are new. */
void rt_hidden_reset(void);

/* Closes all of them: in a fork child. */
void rt_close_hidden(void);

#endif
