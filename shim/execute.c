/*
 * exec: the straggler signal must not be pending when the new program starts, where it would
 * be deadly. So checkpoints end before the call and begin again if it fails.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "life/environment.h"
#include "life/pause.h"
#include "next.h"
#include "threads/thread.h"

/* What a failed exec gives back. */
static int come_back(int result, char *const given[], char *const used[], const struct rt_kernel_sigaction *kept)
{
	int saved = errno;
	rt_environment_free(given, used);
	if (kept != NULL)
		rt_straggler_catch(kept);
	rt_checkpoints_go_on();
	errno = saved;
	return result;
}

#define EXEC(name, parameters, ...)                                                                         \
	SHIM_EXPORT int name parameters                                                                     \
	{                                                                                                   \
		char *const *given = environment;                                                           \
		struct rt_kernel_sigaction kept;                                                            \
		rt_pause_checkpoints();                                                                     \
		bool ignored = rt_straggler_ignore(&kept);                                                  \
		environment = rt_environment_complete(given);                                               \
		return come_back(SHIM_NEXT(name)(__VA_ARGS__), given, environment, ignored ? &kept : NULL); \
	}

EXEC(execve, (const char *path, char *const arguments[], char *const environment[]), path, arguments, environment)
EXEC(execvpe, (const char *file, char *const arguments[], char *const environment[]), file, arguments, environment)
EXEC(fexecve, (int fd, char *const arguments[], char *const environment[]), fd, arguments, environment)
EXEC(execveat, (int directory, const char *path, char *const arguments[], char *const environment[], int flags),
     directory, path, arguments, environment, flags)

SHIM_EXPORT int execv(const char *path, char *const arguments[])
{
	return execve(path, arguments, environ);
}

SHIM_EXPORT int execvp(const char *file, char *const arguments[])
{
	return execvpe(file, arguments, environ);
}

/* Counts the arguments of a variadic exec, the terminating NULL included. */
static size_t count_arguments(va_list list)
{
	size_t count = 1;
	while (va_arg(list, char *) != NULL)
		count++;
	return count;
}

static void copy_arguments(char **arguments, size_t count, const char *first, va_list list)
{
	arguments[0] = (char *)first;
	for (size_t i = 1; i < count; i++)
		arguments[i] = va_arg(list, char *);
}

/* Declares `arguments`, the vector of the variadic list after `first`; *list stands behind its end. */
#define COLLECT(first)                            \
	va_list list;                             \
	va_start(list, first);                    \
	size_t count = count_arguments(list) + 1; \
	va_end(list);                             \
	char *arguments[count];                   \
	va_start(list, first);                    \
	copy_arguments(arguments, count, first, list)

SHIM_EXPORT int execl(const char *path, const char *first, ...)
{
	COLLECT(first);
	va_end(list);
	return execv(path, arguments);
}

SHIM_EXPORT int execlp(const char *file, const char *first, ...)
{
	COLLECT(first);
	va_end(list);
	return execvp(file, arguments);
}

SHIM_EXPORT int execle(const char *path, const char *first, ...)
{
	COLLECT(first);
	char *const *environment = va_arg(list, char *const *);
	va_end(list);
	return execve(path, arguments, environment);
}
