/* Locks of files, and owners of descriptors: the runtime looks for them once the program has asked for one. */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <unistd.h>

#include "descriptor/descriptor.h"
#include "shim/next.h"

SHIM_EXPORT int flock(int fd, int operation)
{
	rt_descriptors_note_locking();
	return SHIM_NEXT(flock)(fd, operation);
}

static void note_command(int command)
{
	switch (command) {
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_SETLK:
	case F_OFD_SETLKW: rt_descriptors_note_locking(); break;
	case F_SETOWN:
	case F_SETOWN_EX:
	case F_SETSIG: rt_descriptors_note_owner(); break;
	default: break;
	}
}

#define FCNTL(name)                                            \
	SHIM_EXPORT int name(int fd, int command, ...)         \
	{                                                      \
		va_list list;                                  \
		va_start(list, command);                       \
		void *argument = va_arg(list, void *);         \
		va_end(list);                                  \
		note_command(command);                         \
		return SHIM_NEXT(name)(fd, command, argument); \
	}

FCNTL(fcntl)
FCNTL(fcntl64)

#define LOCKF(name)                                             \
	SHIM_EXPORT int name(int fd, int command, off_t length) \
	{                                                       \
		rt_descriptors_note_locking();                  \
		return SHIM_NEXT(name)(fd, command, length);    \
	}

LOCKF(lockf)
LOCKF(lockf64)
