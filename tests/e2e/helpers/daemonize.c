/*
 * daemonize HOW LINES: becomes a daemon, then appends the numbers 1 to LINES to the file `lines`, one
 * every 10 ms, and writes `ended` when it ends. HOW:
 *   daemon  daemon(3)                      once   fork, setsid
 *   twice   fork, setsid, fork             late   the first process waits until the daemon has begun
 *   exec    fork, setsid, exec of itself   none   no daemon
 *   clean   the same with an empty environment
 *   race    the same up to 1 ms after the first process has ended; what is executed before that fails
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static int begun[2];

static void write_file(const char *path, int flags, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | flags, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(3);
	close(fd);
}

static void *do_nothing(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void work(long lines)
{
	int fd = open("lines", O_WRONLY | O_CREAT | O_APPEND, 0644);
	pthread_t thread;

	if (fd < 0 || pthread_create(&thread, NULL, do_nothing, NULL))
		_exit(3);
	if (begun[1])
		(void)!write(begun[1], "", 1);
	for (long i = 1; i <= lines; i++) {
		char text[32];
		int length = snprintf(text, sizeof(text), "%ld\n", i);

		if (write(fd, text, (size_t)length) != length)
			_exit(3);
		usleep(10000);
	}
	write_file("ended", O_TRUNC, "");
	exit(0);
}

static void fork_and_leave(int wait_for_daemon)
{
	pid_t child = fork();
	char byte;

	if (child < 0)
		_exit(3);
	if (child == 0)
		return;
	if (wait_for_daemon && read(begun[0], &byte, 1) != 1)
		_exit(3);
	_exit(0);
}

static long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void await_end(pid_t process)
{
	long end;

	while (getppid() == process)
		execl("/nonexistent", "nonexistent", (char *)NULL);
	end = now_ns() + getpid() % 100 * 10000L;
	while (now_ns() < end)
		;
}

int main(int argc, char **argv)
{
	const char *how = argc > 2 ? argv[1] : "none";
	long lines = argc > 2 ? atol(argv[2]) : 100;

	if (!strcmp(how, "daemon") && daemon(1, 0))
		return 3;
	pid_t first = getpid();
	bool waited_for = !strcmp(how, "late") || !strcmp(how, "race");

	if (waited_for && pipe(begun))
		return 3;
	if (waited_for || !strcmp(how, "once") || !strcmp(how, "twice") || !strcmp(how, "exec") ||
	    !strcmp(how, "clean")) {
		fork_and_leave(waited_for);
		setsid();
	}
	if (!strcmp(how, "twice"))
		fork_and_leave(0);
	if (!strcmp(how, "race")) {
		(void)!write(begun[1], "", 1);
		await_end(first);
	}
	if (!strcmp(how, "race") || !strcmp(how, "exec"))
		execl("/proc/self/exe", argv[0], "none", argv[2], (char *)NULL);
	if (!strcmp(how, "clean"))
		execle("/proc/self/exe", argv[0], "none", argv[2], (char *)NULL, (char *[]){NULL});
	work(lines);
}
