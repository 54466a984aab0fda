#include "plain.h"

#include <limits.h>
#include <stdio.h>

/* Bytes of UTF-8 sequences are not control characters. */
static int is_control(unsigned char byte)
{
	return byte < ' ' || byte == 0x7f;
}

char *make_plain(char *text)
{
	for (char *c = text; *c; c++)
		if (is_control((unsigned char)*c))
			*c = '?';
	return text;
}

const char *plain_text(const char *text)
{
	static char copies[4][PATH_MAX];
	static unsigned next;
	char *copy = copies[next++ % 4];
	snprintf(copy, sizeof(copies[0]), "%s", text ? text : "?");
	return make_plain(copy);
}
