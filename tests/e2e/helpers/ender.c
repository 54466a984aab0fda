/* ender HOW: waits for a file called `go` and ends with status 7, in one of the ways there are. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *how;

static void await_go(void)
{
	while (access("go", F_OK))
		usleep(2000);
}

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		abort();
}

/* Run before the end is in the store: a kill here must leave something to restore. */
static void at_end(void)
{
	say("handler\n");
}

static void *end_in_thread(void *unused)
{
	(void)unused;
	await_go();
	if (strcmp(how, "thread-exit") == 0)
		exit(7);
	usleep(200000); /* the main thread is to end first */
	return NULL;
}

static void start_thread(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, end_in_thread, NULL);
	pthread_detach(thread);
}

int main(int argc, char **argv)
{
	how = argc > 1 ? argv[1] : "";
	atexit(at_end);
	at_quick_exit(at_end);
	if (strncmp(how, "thread", 6) == 0) {
		start_thread();
		if (strcmp(how, "thread-exit") == 0)
			pause();
		if (strcmp(how, "thread-last-raw") == 0)
			syscall(SYS_exit, 7);
		pthread_exit(NULL);
	}
	await_go();
	if (strcmp(how, "exit") == 0)
		exit(7);
	if (strcmp(how, "_exit") == 0)
		_exit(7);
	if (strcmp(how, "_Exit") == 0)
		_Exit(7);
	if (strcmp(how, "quick_exit") == 0)
		quick_exit(7);
	if (strcmp(how, "exit_group") == 0)
		syscall(SYS_exit_group, 7);
	if (strcmp(how, "raw-exit") == 0)
		syscall(SYS_exit, 7);
	return 7;
}
