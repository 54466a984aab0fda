/* Programs run now and then: fork, fork and exec, posix_spawn, vfork, system, popen. Children are not
 * protected: one that was running at the crash is reported as killed by SIGKILL, and is started
 * again. All others run undisturbed and give their own exit status. */
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "victim.h"

#define THREADS 3

extern char **environ;

static uint64_t sums[THREADS];
static long rounds;

static bool died_with_parent(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static int wait_for(pid_t child)
{
	int status;

	CHECK(child > 0);
	CHECK_EQUAL(waitpid(child, &status, 0), child);
	return status;
}

/* A child that computes in its copy of our memory. */
static int run_fork(int code)
{
	static uint64_t cell;
	pid_t child = fork();

	if (child == 0) {
		uint64_t *block = malloc(100000);

		cell = spin(1, 1000);
		memset(block, code, 100000);
		_exit(((unsigned char *)block)[99999] == (unsigned char)code && cell ? code : 99);
	}
	return wait_for(child);
}

static int run_exec(int code)
{
	char command[32];
	pid_t child;

	snprintf(command, sizeof(command), "exit %d", code);
	child = fork();
	if (child == 0) {
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(98);
	}
	return wait_for(child);
}

static int run_spawn(int code)
{
	char command[32];
	char *const arguments[] = {"sh", "-c", command, NULL};
	pid_t child;

	snprintf(command, sizeof(command), "exit %d", code);
	CHECK_EQUAL(posix_spawn(&child, "/bin/sh", NULL, NULL, arguments, environ), 0);
	return wait_for(child);
}

static int run_vfork(int code)
{
	pid_t child;

	(void)code;
	child = vfork();
	if (child == 0) {
		execl("/bin/true", "true", NULL);
		_exit(98);
	}
	return wait_for(child);
}

static int run_system(int code)
{
	char command[32];

	snprintf(command, sizeof(command), "exit %d", code);
	return system(command);
}

/* What a child said before it died with us does not count. */
static int run_popen(int code)
{
	char command[32];
	int said = -1, status;
	FILE *stream;

	snprintf(command, sizeof(command), "echo %d; exit %d", code, code);
	stream = popen(command, "r");
	CHECK(stream);
	if (fscanf(stream, "%d", &said) != 1)
		said = -1;
	status = pclose(stream);
	if (!died_with_parent(status))
		CHECK_EQUAL(said, code);
	return status;
}

/* Runs it until it has not died with its parent. */
static int run(int kind, int code)
{
	static int (*const kinds[])(int) = {run_fork, run_exec, run_spawn, run_vfork, run_system, run_popen};
	int status, expected = kind == 3 ? 0 : code;

	do {
		status = kinds[kind](code);
	} while (died_with_parent(status));
	CHECK(WIFEXITED(status));
	CHECK_EQUAL(WEXITSTATUS(status), expected);
	return WEXITSTATUS(status);
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)self;
	long i;

	for (i = 0; i < rounds; i++) {
		int kind = (int)(next_random(&state) % 6), code = (int)(next_random(&state) % 90);

		sums[self] += mix((uint64_t)run(kind, code) + (uint64_t)i * 100);
		spin(1, 200000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 130);
	run_threads(THREADS, worker);
	CHECK_EQUAL(waitpid(-1, NULL, 0), -1);
	CHECK_EQUAL(errno, ECHILD);
	for (i = 0; i < THREADS; i++)
		printf("children %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
