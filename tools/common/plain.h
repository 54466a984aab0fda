/* Names from files, for a terminal: what could move its cursor, or end the line, is shown as a question mark. */
#ifndef TOOLS_PLAIN_H
#define TOOLS_PLAIN_H

#include <stddef.h>

/* Replaces what is not to be shown, in place. Returns `text`. */
char *make_plain(char *text);

/* A copy made so, of at most 4 KiB; "?" for NULL. Valid until the fourth call from now. One thread. */
const char *plain_text(const char *text);

#endif
