/*
 * Files: what would destroy bytes of a regular file, or a name, is told to the runtime before it is
 * done, and new names after (runtime/files/undo.h). What libc calls inside itself is not seen here: the writes
 * of stdio, of which only the opening is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "files/undo.h"
#include "shim/files/rest.h"
#include "shim/files/timeout.h"
#include "shim/next.h"

/* Opens a section for the rest of the scope. */
#define BEFORE(...)                    \
	RT_UNDO_SECTION section = {0}; \
	rt_undo_before(&section, &(const struct rt_undo_request){__VA_ARGS__})

/* ---- writing ---- */

/* More vectors than the kernel takes are not looked at. */
static uint64_t vector_length(const struct iovec *vectors, int count)
{
	return rt_root.engine != NULL && count > 0 && count <= 1024 ? shim_vector_length(vectors, (size_t)count) : 0;
}

SHIM_EXPORT ssize_t write(int fd, const void *buffer, size_t length)
{
	BEFORE(RT_UNDO_WRITE, .fd = fd, .offset = RT_UNDO_HERE, .length = length);
	rt_local.cut_short = false;
	ssize_t done;
	SHIM_SENDING(done, 0, SYS_write, fd, SHIM_NEXT(write)(fd, buffer, length));
	if (shim_cut_short(done, length))
		done = shim_write_rest(fd, &(const struct iovec){(void *)buffer, length}, 1, done);
	return done;
}

SHIM_EXPORT ssize_t writev(int fd, const struct iovec *vectors, int count)
{
	BEFORE(RT_UNDO_WRITE, .fd = fd, .offset = RT_UNDO_HERE, .length = vector_length(vectors, count));
	rt_local.cut_short = false;
	ssize_t done;
	SHIM_SENDING(done, 0, SYS_writev, fd, SHIM_NEXT(writev)(fd, vectors, count));
	if (done > 0 && shim_cut_short(done, shim_vector_length(vectors, (size_t)count)))
		done = shim_write_rest(fd, vectors, (size_t)count, done);
	return done;
}

#define PWRITE(name)                                                                                  \
	SHIM_EXPORT ssize_t name(int fd, const void *buffer, size_t length, off_t offset)             \
	{                                                                                             \
		BEFORE(RT_UNDO_WRITE, .fd = fd, .offset = offset, .length = offset < 0 ? 0 : length); \
		return SHIM_NEXT(name)(fd, buffer, length, offset);                                   \
	}

PWRITE(pwrite)
PWRITE(pwrite64)

#define PWRITEV(name)                                                                          \
	SHIM_EXPORT ssize_t name(int fd, const struct iovec *vectors, int count, off_t offset) \
	{                                                                                      \
		BEFORE(RT_UNDO_WRITE, .fd = fd, .offset = offset,                              \
		       .length = offset < 0 ? 0 : vector_length(vectors, count));              \
		return SHIM_NEXT(name)(fd, vectors, count, offset);                            \
	}

PWRITEV(pwritev)
PWRITEV(pwritev64)

/* An offset of -1 means "here". */
#define PWRITEV2(name)                                                                                    \
	SHIM_EXPORT ssize_t name(int fd, const struct iovec *vectors, int count, off_t offset, int flags) \
	{                                                                                                 \
		BEFORE(RT_UNDO_WRITE, .fd = fd, .offset = offset == -1 ? RT_UNDO_HERE : offset,           \
		       .length = offset < -1 ? 0 : vector_length(vectors, count));                        \
		return SHIM_NEXT(name)(fd, vectors, count, offset, flags);                                \
	}

PWRITEV2(pwritev2)
PWRITEV2(pwritev64v2)

#define SENDFILE(name)                                                                                     \
	SHIM_EXPORT ssize_t name(int to, int from, off_t *offset, size_t length)                           \
	{                                                                                                  \
		BEFORE(RT_UNDO_WRITE, .fd = to, .offset = RT_UNDO_HERE, .length = length);                 \
		rt_local.cut_short = false;                                                                \
		ssize_t done, more;                                                                        \
		SHIM_SENDING(done, 0, SYS_sendfile, to, SHIM_NEXT(name)(to, from, offset, length));        \
		for (more = done; more > 0 && shim_cut_short(done, length); done += more > 0 ? more : 0) { \
			rt_local.cut_short = false;                                                        \
			SHIM_SENDING(more, 0, SYS_sendfile, to,                                            \
				     SHIM_NEXT(name)(to, from, offset, length - (size_t)done));            \
		}                                                                                          \
		return done;                                                                               \
	}

SENDFILE(sendfile)
SENDFILE(sendfile64)

SHIM_EXPORT ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
				    unsigned int flags)
{
	BEFORE(RT_UNDO_WRITE, .fd = to, .offset = to_offset ? *to_offset : RT_UNDO_HERE, .length = length);
	return SHIM_NEXT(copy_file_range)(from, from_offset, to, to_offset, length, flags);
}

/* ---- cutting ---- */

#define FTRUNCATE(name)                                                                              \
	SHIM_EXPORT int name(int fd, off_t length)                                                   \
	{                                                                                            \
		BEFORE(RT_UNDO_CUT, .fd = fd, .length = length < 0 ? UINT64_MAX : (uint64_t)length); \
		return SHIM_NEXT(name)(fd, length);                                                  \
	}

FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

#define TRUNCATE(name)                                                        \
	SHIM_EXPORT int name(const char *path, off_t length)                  \
	{                                                                     \
		BEFORE(RT_UNDO_CUT_PATH, .directory = AT_FDCWD, .path = path, \
		       .length = length < 0 ? UINT64_MAX : (uint64_t)length); \
		return SHIM_NEXT(name)(path, length);                         \
	}

TRUNCATE(truncate)
TRUNCATE(truncate64)

#define MODE_SHIFTS (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)
#define MODE_CLEARS (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)

#define FALLOCATE(name)                                                                                              \
	SHIM_EXPORT int name(int fd, int mode, off_t offset, off_t length)                                           \
	{                                                                                                            \
		bool changes = (mode & (MODE_SHIFTS | MODE_CLEARS)) && offset >= 0 && length > 0;                    \
		BEFORE(mode &MODE_SHIFTS ? RT_UNDO_SHIFT : RT_UNDO_WRITE, .fd = changes ? fd : -1, .offset = offset, \
		       .length = changes ? (uint64_t)length : 0);                                                    \
		return SHIM_NEXT(name)(fd, mode, offset, length);                                                    \
	}

FALLOCATE(fallocate)
FALLOCATE(fallocate64)

/* ---- opening ---- */

#define CHANGING_FLAGS (O_CREAT | O_TRUNC)

/* Whether an open() with these flags may change something, or lead to it. */
static bool may_change(int flags)
{
	if ((flags & O_PATH) || (flags & O_TMPFILE) == O_TMPFILE)
		return false;
	return (flags & CHANGING_FLAGS) || (flags & O_ACCMODE) != O_RDONLY;
}

#define OPENING(number, name_, flags_)                                                                             \
	RT_UNDO_SECTION section = {0};                                                                             \
	if (may_change(flags_))                                                                                    \
	rt_undo_before(&section, &(const struct rt_undo_request){RT_UNDO_OPEN, .directory = number, .path = name_, \
								 .flags = flags_})

static int opened(struct rt_undo_section *section, int fd)
{
	if (section->open)
		rt_undo_made(section, fd, AT_FDCWD, NULL);
	return fd;
}

static bool has_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

/* Declares `mode`, the argument after `flags` if there is one. */
#define TAKE_MODE(flags)                     \
	mode_t mode = 0;                     \
	if (has_mode(flags)) {               \
		va_list list;                \
		va_start(list, flags);       \
		mode = va_arg(list, mode_t); \
		va_end(list);                \
	}

#define OPEN(name)                                                           \
	SHIM_EXPORT int name(const char *path, int flags, ...)               \
	{                                                                    \
		TAKE_MODE(flags)                                             \
		OPENING(AT_FDCWD, path, flags);                              \
		return opened(&section, SHIM_NEXT(name)(path, flags, mode)); \
	}

OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                 \
	SHIM_EXPORT int name(int number, const char *path, int flags, ...)           \
	{                                                                            \
		TAKE_MODE(flags)                                                     \
		OPENING(number, path, flags);                                        \
		return opened(&section, SHIM_NEXT(name)(number, path, flags, mode)); \
	}

OPENAT(openat)
OPENAT(openat64)

/* What the compiler makes of them with _FORTIFY_SOURCE. */
extern int __open_2(const char *path, int flags), __open64_2(const char *path, int flags);
extern int __openat_2(int number, const char *path, int flags), __openat64_2(int number, const char *path, int flags);

#define OPEN_2(name)                                                   \
	SHIM_EXPORT int name(const char *path, int flags)              \
	{                                                              \
		OPENING(AT_FDCWD, path, flags);                        \
		return opened(&section, SHIM_NEXT(name)(path, flags)); \
	}

OPEN_2(__open_2)
OPEN_2(__open64_2)

#define OPENAT_2(name)                                                         \
	SHIM_EXPORT int name(int number, const char *path, int flags)          \
	{                                                                      \
		OPENING(number, path, flags);                                  \
		return opened(&section, SHIM_NEXT(name)(number, path, flags)); \
	}

OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)

#define CREAT(name)                                                    \
	SHIM_EXPORT int name(const char *path, mode_t mode)            \
	{                                                              \
		OPENING(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC); \
		return opened(&section, SHIM_NEXT(name)(path, mode));  \
	}

CREAT(creat)
CREAT(creat64)

/* The flags of open() that fopen() makes of its mode. */
static int stream_flags(const char *mode)
{
	int flags = strchr(mode, '+') ? O_RDWR : *mode == 'r' ? O_RDONLY : O_WRONLY;
	if (*mode == 'w')
		flags |= O_CREAT | O_TRUNC;
	else if (*mode == 'a')
		flags |= O_CREAT | O_APPEND;
	return strchr(mode, 'x') ? flags | O_EXCL : flags;
}

static FILE *opened_stream(struct rt_undo_section *section, FILE *stream)
{
	if (section->open)
		rt_undo_made(section, stream ? fileno(stream) : -1, AT_FDCWD, NULL);
	return stream;
}

#define FOPEN(name)                                                                  \
	SHIM_EXPORT FILE *name(const char *restrict path, const char *restrict mode) \
	{                                                                            \
		OPENING(AT_FDCWD, path, stream_flags(mode));                         \
		return opened_stream(&section, SHIM_NEXT(name)(path, mode));         \
	}

FOPEN(fopen)
FOPEN(fopen64)

/* Without a path the stream's own file is opened again, as its descriptor leads to it. */
#define FREOPEN(name)                                                                                       \
	SHIM_EXPORT FILE *name(const char *restrict path, const char *restrict mode, FILE *restrict stream) \
	{                                                                                                   \
		char own[32];                                                                               \
		snprintf(own, sizeof(own), "/proc/self/fd/%d", path ? -1 : fileno(stream));                 \
		OPENING(AT_FDCWD, path ? path : own, stream_flags(mode));                                   \
		return opened_stream(&section, SHIM_NEXT(name)(path, mode, stream));                        \
	}

FREOPEN(freopen)
FREOPEN(freopen64)

/* ---- new names ---- */

/* A call that makes `path` in `number`. */
#define MAKE(name, parameters, number, new_path, ...)                        \
	SHIM_EXPORT int name parameters                                      \
	{                                                                    \
		BEFORE(RT_UNDO_MAKE, .directory = number, .path = new_path); \
		int result = SHIM_NEXT(name)(__VA_ARGS__);                   \
		if (result == 0 && section.open)                             \
			rt_undo_made(&section, -1, number, new_path);        \
		return result;                                               \
	}

MAKE(mkdir, (const char *path, mode_t mode), AT_FDCWD, path, path, mode)
MAKE(mkdirat, (int number, const char *path, mode_t mode), number, path, number, path, mode)
MAKE(symlink, (const char *target, const char *path), AT_FDCWD, path, target, path)
MAKE(symlinkat, (const char *target, int number, const char *path), number, path, target, number, path)
MAKE(mkfifo, (const char *path, mode_t mode), AT_FDCWD, path, path, mode)
MAKE(mkfifoat, (int number, const char *path, mode_t mode), number, path, number, path, mode)
MAKE(mknod, (const char *path, mode_t mode, dev_t device), AT_FDCWD, path, path, mode, device)
MAKE(mknodat, (int number, const char *path, mode_t mode, dev_t device), number, path, number, path, mode, device)

SHIM_EXPORT int link(const char *from, const char *to)
{
	BEFORE(RT_UNDO_LINK, .directory = AT_FDCWD, .path = from, .other_directory = AT_FDCWD, .other = to);
	return SHIM_NEXT(link)(from, to);
}

SHIM_EXPORT int linkat(int from_number, const char *from, int to_number, const char *to, int flags)
{
	BEFORE(RT_UNDO_LINK, .directory = from_number, .path = from, .other_directory = to_number, .other = to,
	       .flags = flags);
	return SHIM_NEXT(linkat)(from_number, from, to_number, to, flags);
}

/* ---- names that go ---- */

#define REMOVE(name, parameters, number, old_path, ...)                        \
	SHIM_EXPORT int name parameters                                        \
	{                                                                      \
		BEFORE(RT_UNDO_REMOVE, .directory = number, .path = old_path); \
		return SHIM_NEXT(name)(__VA_ARGS__);                           \
	}

REMOVE(unlink, (const char *path), AT_FDCWD, path, path)
REMOVE(unlinkat, (int number, const char *path, int flags), number, path, number, path, flags)
REMOVE(remove, (const char *path), AT_FDCWD, path, path)
REMOVE(rmdir, (const char *path), AT_FDCWD, path, path)

#define RENAME(name, parameters, from_number, from, to_number, to, options, ...)                             \
	SHIM_EXPORT int name parameters                                                                      \
	{                                                                                                    \
		BEFORE(RT_UNDO_RENAME, .directory = from_number, .path = from, .other_directory = to_number, \
		       .other = to, .flags = options);                                                       \
		return SHIM_NEXT(name)(__VA_ARGS__);                                                         \
	}

RENAME(rename, (const char *from, const char *to), AT_FDCWD, from, AT_FDCWD, to, 0, from, to)
RENAME(renameat, (int from_number, const char *from, int to_number, const char *to), from_number, from, to_number, to,
       0, from_number, from, to_number, to)
RENAME(renameat2, (int from_number, const char *from, int to_number, const char *to, unsigned int flags), from_number,
       from, to_number, to, (int)flags, from_number, from, to_number, to, flags)
