/*
 * Preloaded into stress-ng beside librespct.so: its first fork()s make no process; the caller goes on as the child would.
 * stress-ng does its work in children, that on memory in children of theirs, and children are not protected; so the work
 * itself is what is killed and restored.
 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define GENERATIONS 2

pid_t fork(void)
{
	static int forks;
	pid_t (*real_fork)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");

	if (forks == GENERATIONS || strcmp(program_invocation_short_name, "stress-ng") != 0)
		return real_fork();
	forks++;
	return 0;
}
