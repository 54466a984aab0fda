/*
 * Temporary files. libc chooses the name and makes the file in one call, so that it would be known only
 * afterwards, and a file made just before a crash would stay. Here a name is chosen first, and the file made by
 * the wrappers of open() and mkdir().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "root.h"
#include "shim/next.h"

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define ATTEMPTS 238328 /* 62 to the third, as in libc */

static int make_file(const char *path, int flags)
{
	return open(path, (flags & ~O_ACCMODE) | O_RDWR | O_CREAT | O_EXCL, 0600);
}

static int make_directory(const char *path, int flags)
{
	(void)flags;
	return mkdir(path, 0700);
}

/* Where the six letters of the pattern are; NULL, and errno, when it has none. */
static char *find_letters(char *pattern, int suffix)
{
	size_t length = strlen(pattern);
	if (suffix >= 0 && length >= 6 + (size_t)suffix &&
	    memcmp(pattern + length - (size_t)suffix - 6, "XXXXXX", 6) == 0)
		return pattern + length - (size_t)suffix - 6;
	errno = EINVAL;
	return NULL;
}

static int make(char *pattern, int suffix, int flags, int (*make_one)(const char *path, int flags))
{
	char *letters = find_letters(pattern, suffix);
	int saved = errno;
	if (letters == NULL)
		return -1;
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		uint64_t random;
		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return -1;
		for (int i = 0; i < 6; i++, random /= 62)
			letters[i] = LETTERS[random % 62];
		int result = make_one(pattern, flags);
		if (result < 0 && errno == EEXIST)
			continue;
		if (result >= 0)
			errno = saved;
		return result;
	}
	errno = EEXIST;
	return -1;
}

#define MKSTEMP(name, parameters, suffix_length, open_flags, ...)           \
	SHIM_EXPORT int name parameters                                     \
	{                                                                   \
		if (rt_root.engine == NULL)                                 \
			return SHIM_NEXT(name)(__VA_ARGS__);                \
		return make(pattern, suffix_length, open_flags, make_file); \
	}

MKSTEMP(mkstemp, (char *pattern), 0, 0, pattern)
MKSTEMP(mkstemp64, (char *pattern), 0, 0, pattern)
MKSTEMP(mkostemp, (char *pattern, int flags), 0, flags, pattern, flags)
MKSTEMP(mkostemp64, (char *pattern, int flags), 0, flags, pattern, flags)
MKSTEMP(mkstemps, (char *pattern, int suffix), suffix, 0, pattern, suffix)
MKSTEMP(mkstemps64, (char *pattern, int suffix), suffix, 0, pattern, suffix)
MKSTEMP(mkostemps, (char *pattern, int suffix, int flags), suffix, flags, pattern, suffix, flags)
MKSTEMP(mkostemps64, (char *pattern, int suffix, int flags), suffix, flags, pattern, suffix, flags)

SHIM_EXPORT char *mkdtemp(char *pattern)
{
	if (rt_root.engine == NULL)
		return SHIM_NEXT(mkdtemp)(pattern);
	return make(pattern, 0, 0, make_directory) < 0 ? NULL : pattern;
}
