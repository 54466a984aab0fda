/*
 * on_terminal ROWS SCRIPT COMMAND...: runs COMMAND as the job in the foreground of a little shell, on a
 * pseudo-terminal of its own with so many rows. SCRIPT is a list of words, separated by commas: =TEXT
 * waits until the terminal has shown TEXT, a number presses the key with that code. The shell shows
 * "stopped" when its job is stopped, continues it after a moment, and shows "status N" when it has ended.
 * Copies what the terminal shows to its standard output. Exit status: 0, 1 when a text does not come.
 */
#define _XOPEN_SOURCE 600
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 30

static char shown[1 << 20];
static size_t shown_length, looked_at;

static void run_job(char **command)
{
	pid_t job = fork();
	int status;
	if (job == 0) {
		setpgid(0, 0);
		signal(SIGTTOU, SIG_IGN);
		tcsetpgrp(0, getpgrp());
		signal(SIGTTOU, SIG_DFL);
		execvp(command[0], command);
		_exit(127);
	}
	setpgid(job, job);
	signal(SIGTTOU, SIG_IGN);
	while (waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status)) {
		tcsetpgrp(0, getpgrp());
		printf("stopped\n");
		fflush(stdout);
		usleep(200000);
		tcsetpgrp(0, job);
		kill(-job, SIGCONT);
	}
	tcsetpgrp(0, getpgrp());
	printf("status %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	fflush(stdout);
	usleep(100000);
	_exit(0);
}

static void run_shell(const char *name, int rows, char **command)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = 80};
	setsid();
	int slave = open(name, O_RDWR);
	ioctl(slave, TIOCSCTTY, 0);
	ioctl(slave, TIOCSWINSZ, &size);
	for (int i = 0; i < 3; i++)
		dup2(slave, i);
	run_job(command);
}

/* False when it does not come, however much else does. */
static int await(int master, const char *text)
{
	time_t deadline = time(NULL) + PATIENCE_S;
	while (time(NULL) < deadline) {
		char *found = strstr(shown + looked_at, text);
		if (found != NULL) {
			looked_at = (size_t)(found - shown) + strlen(text);
			return 1;
		}
		struct pollfd entry = {.fd = master, .events = POLLIN};
		if (poll(&entry, 1, 1000) != 1)
			continue;
		ssize_t length = read(master, shown + shown_length, sizeof(shown) - 1 - shown_length);
		if (length <= 0)
			return 0;
		if (write(1, shown + shown_length, (size_t)length) < 0)
			return 0;
		shown_length += (size_t)length;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return 77;
	if (fork() == 0)
		run_shell(ptsname(master), atoi(argv[1]), argv + 3);
	for (char *word = strtok(argv[2], ","); word != NULL; word = strtok(NULL, ",")) {
		char key = (char)atoi(word);
		if (word[0] == '=' ? !await(master, word + 1) : write(master, &key, 1) != 1) {
			printf("\nwaited in vain for: %s\n", word);
			return 1;
		}
	}
	return 0;
}
