/*
 * Shared memory and semaphores with names. They are files in /dev/shm, which libc makes and removes without calls that
 * could be seen: names that are new go, and those that are removed come back, like those of other files. What the
 * program has mapped comes back from the store, of other memory that is removed up to RT_UNDO_MAP_LIMIT.
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "files/undo.h"
#include "shim/next.h"

#define PLACE "/dev/shm/"
#define NAME_SIZE (sizeof(PLACE "sem.") + 256)

/* The file of that name, as libc calls it. */
static const char *file_of(const char *name, const char *prefix, char path[NAME_SIZE])
{
	snprintf(path, NAME_SIZE, PLACE "%s%s", prefix, name + strspn(name, "/"));
	return path;
}

SHIM_EXPORT int shm_open(const char *name, int flags, mode_t mode)
{
	char path[NAME_SIZE];
	if (rt_root.engine == NULL)
		return SHIM_NEXT(shm_open)(name, flags, mode);
	RT_UNDO_SECTION section = {0};
	rt_undo_before(&section, &(const struct rt_undo_request){RT_UNDO_OPEN, .directory = AT_FDCWD,
								 .path = file_of(name, "", path), .flags = flags});
	int fd = SHIM_NEXT(shm_open)(name, flags, mode);
	if (section.open)
		rt_undo_made(&section, fd, AT_FDCWD, NULL);
	return fd;
}

SHIM_EXPORT sem_t *sem_open(const char *name, int flags, ...)
{
	char path[NAME_SIZE];
	mode_t mode = 0;
	unsigned int value = 0;
	if (flags & O_CREAT) {
		va_list list;
		va_start(list, flags);
		mode = va_arg(list, mode_t);
		value = va_arg(list, unsigned int);
		va_end(list);
	}
	if (rt_root.engine == NULL || !(flags & O_CREAT))
		return SHIM_NEXT(sem_open)(name, flags, mode, value);
	RT_UNDO_SECTION section = {0};
	rt_undo_before(&section, &(const struct rt_undo_request){RT_UNDO_OPEN_SEMAPHORE, .directory = AT_FDCWD,
								 .path = file_of(name, "sem.", path), .flags = flags});
	sem_t *semaphore = SHIM_NEXT(sem_open)(name, flags, mode, value);
	if (semaphore != SEM_FAILED && section.open)
		rt_undo_made(&section, -1, AT_FDCWD, path);
	return semaphore;
}

#define UNLINK(function, prefix)                                                                                \
	SHIM_EXPORT int function(const char *name)                                                              \
	{                                                                                                       \
		char path[NAME_SIZE];                                                                           \
		if (rt_root.engine == NULL)                                                                     \
			return SHIM_NEXT(function)(name);                                                       \
		RT_UNDO_SECTION section = {0};                                                                  \
		rt_undo_before(&section, &(const struct rt_undo_request){RT_UNDO_REMOVE, .directory = AT_FDCWD, \
									 .path = file_of(name, prefix, path),   \
									 .length = RT_UNDO_MAP_LIMIT});         \
		return SHIM_NEXT(function)(name);                                                               \
	}

UNLINK(shm_unlink, "")
UNLINK(sem_unlink, "sem.")
