/* See status.h. */
#include "capture/status.h"

#include <string.h>

#include "base/sys.h"

int rt_status_read(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;
	while ((got = rt_sys_pread(fd, text + length, size - 1 - length, (off_t)length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	return got < 0 ? (int)got : 0;
}

const char *rt_status_find(const char *text, const char *key)
{
	size_t length = strlen(key);
	while (text != NULL && strncmp(text, key, length) != 0) {
		text = strchr(text, '\n');
		if (text != NULL)
			text++;
	}
	if (text == NULL)
		return NULL;
	text += length;
	while (*text == ' ' || *text == '\t')
		text++;
	return text;
}
