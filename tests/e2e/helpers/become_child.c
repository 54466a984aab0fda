/*
 * Preloaded into stress-ng beside librespct.so: its first fork() makes no process; the caller goes on as the child would.
 * stress-ng does its work in children, and children are not protected; so the work itself is what is killed and restored.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

pid_t fork(void)
{
	static bool is_child;
	pid_t (*real_fork)(void) = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");

	if (is_child || strcmp(program_invocation_short_name, "stress-ng") != 0)
		return real_fork();
	is_child = true;
	return 0;
}
