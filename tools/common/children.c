/* Processes that a command starts, watches and kills; see children.h. */
#include "children.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number)
{
	interrupted = signal_number;
}

/* What was ignored stays so. */
static void catch_interrupt(int signal_number)
{
	struct sigaction action;

	if (sigaction(signal_number, NULL, &action) || action.sa_handler == SIG_IGN)
		return;
	action = (struct sigaction){.sa_handler = interrupt};
	sigaction(signal_number, &action, NULL);
}

/* So that no file of ours gets one of these numbers, and a child keeps what it is given there. */
static void fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void children_adopt(void)
{
	catch_interrupt(SIGINT);
	catch_interrupt(SIGTERM);
	catch_interrupt(SIGHUP);
	catch_interrupt(SIGQUIT);
	catch_interrupt(SIGPIPE);
	fill_standard_descriptors();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		refuse("prctl(PR_SET_CHILD_SUBREAPER): %s", strerror(errno));
}

int children_interrupted(void)
{
	return interrupted;
}

char *format_text(const char *format, ...)
{
	static struct text {
		struct text *next;
		char bytes[];
	} * texts; /* all there are, so that none counts as lost */
	va_list arguments;
	struct text *text;
	int length;

	va_start(arguments, format);
	length = vsnprintf(NULL, 0, format, arguments);
	va_end(arguments);
	text = malloc(sizeof(*text) + (size_t)length + 1);
	if (!text)
		refuse("out of memory");
	va_start(arguments, format);
	vsnprintf(text->bytes, (size_t)length + 1, format, arguments);
	va_end(arguments);
	text->next = texts;
	texts = text;
	return text->bytes;
}

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* ---- starting ---- */

static void become_user(long user)
{
	if (user < 0)
		return;
	if (setgroups(0, NULL) || setresgid((gid_t)user, (gid_t)user, (gid_t)user) ||
	    setresuid((uid_t)user, (uid_t)user, (uid_t)user)) {
		perror("cannot become the other user");
		_exit(127);
	}
}

static void place_descriptor(int from, int to)
{
	if (from >= 0 && dup2(from, to) < 0)
		_exit(127);
}

/* The child's half. */
static void execute(const struct launch *launch)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	place_descriptor(launch->input, 0);
	place_descriptor(launch->output, 1);
	place_descriptor(launch->error, 2);
	close_range(3, ~0U, 0);
	become_user(launch->user);
	if (launch->directory && chdir(launch->directory)) {
		perror(launch->directory);
		_exit(127);
	}
	for (int i = 0; launch->environment && launch->environment[i]; i++)
		putenv(launch->environment[i]);
	execvp(launch->arguments[0], launch->arguments);
	perror(launch->arguments[0]);
	_exit(127);
}

pid_t child_start(const struct launch *launch)
{
	pid_t child = fork();

	if (child < 0)
		refuse("fork: %s", strerror(errno));
	if (child == 0)
		execute(launch);
	return child;
}

static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			refuse("waitpid: %s", strerror(errno));
	}
	return status;
}

int child_run(const struct launch *launch)
{
	return wait_for(child_start(launch));
}

static void read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	char rest[4096];
	ssize_t got;

	for (;;) {
		bool full = length + 1 >= size;

		got = full ? read(fd, rest, sizeof(rest)) : read(fd, text + length, size - 1 - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		if (!full)
			length += (size_t)got;
	}
	text[length] = '\0';
}

int child_run_and_read(const struct launch *launch, char *text, size_t size)
{
	struct launch piped = *launch;
	pid_t child;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		refuse("pipe: %s", strerror(errno));
	piped.output = ends[1];
	child = child_start(&piped);
	close(ends[1]);
	read_all(ends[0], text, size);
	close(ends[0]);
	return wait_for(child);
}

static int discard_descriptor(void)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	return fd;
}

static void run_quietly(char *const *arguments)
{
	int nothing = discard_descriptor();
	struct launch launch = {arguments, NULL, nothing, nothing, nothing, -1, NULL};

	child_run(&launch);
}

void remove_tree(const char *path)
{
	char *arguments[] = {"rm", "-rf", "--", (char *)path, NULL};

	run_quietly(arguments);
}

void copy_tree(const char *from, const char *to)
{
	char *arguments[] = {"cp", "-a", "--", (char *)from, (char *)to, NULL};

	run_quietly(arguments);
}

/* ---- looking ---- */

/* The parent of `pid` in /proc, 0 when it is gone. */
static pid_t parent_of(pid_t pid)
{
	char path[64], text[1024];
	const char *after_name;
	FILE *file;
	size_t length;
	int parent;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	after_name = strrchr(text, ')');
	return after_name && sscanf(after_name + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

bool child_is_ours(pid_t pid)
{
	while (pid > 1) {
		pid = parent_of(pid);
		if (pid == getpid())
			return true;
	}
	return false;
}

pid_t store_process(const char *directory)
{
	char path[PATH_MAX];
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "%s/pid", directory);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid > 1 && child_is_ours(pid) ? pid : 0;
}

/* ---- waiting ---- */

void child_drain(int error_pipe, FILE *log)
{
	struct pollfd ready = {error_pipe, POLLIN, 0};
	char text[4096];
	ssize_t got;

	/* Not for ever, should more come than can be written away. */
	for (int i = 0; i < 256 && error_pipe >= 0 && poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN); i++) {
		got = read(error_pipe, text, sizeof(text));
		if (got <= 0)
			return;
		fwrite(text, 1, (size_t)got, log);
		fflush(log);
	}
}

static int milliseconds_until(int64_t deadline_ns)
{
	int64_t left = deadline_ns - now_ns();

	if (left <= 0)
		return 0;
	left = (left + 999999) / 1000000;
	return left > 60000 ? 60000 : (int)left;
}

bool child_wait(pid_t child, int64_t deadline_ns, int error_pipe, FILE *log, int *status)
{
	struct pollfd ready[2] = {
		{(int)syscall(SYS_pidfd_open, child, 0), POLLIN, 0},
		{error_pipe, POLLIN, 0},
	};
	bool dead = false;

	if (ready[0].fd < 0)
		refuse("pidfd_open(%d): %s", child, strerror(errno));
	while (!dead) {
		int timeout = milliseconds_until(deadline_ns);

		poll(ready, 2, timeout);
		if (interrupted)
			exit(128 + interrupted);
		child_drain(error_pipe, log);
		if (ready[0].revents & POLLIN)
			dead = waitpid(child, status, WNOHANG) == child;
		if (!dead && timeout == 0)
			break;
	}
	close(ready[0].fd);
	return dead;
}

const char *status_text(int status)
{
	static char text[64];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	return text;
}

/* ---- descendants ---- */

void children_each(pid_t pid, void (*action)(pid_t child, void *argument), void *argument)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc && (entry = readdir(proc))) {
		pid_t candidate = atoi(entry->d_name);

		if (candidate > 0 && parent_of(candidate) == pid)
			action(candidate, argument);
	}
	if (proc)
		closedir(proc);
}

static void kill_tree(pid_t pid, void *argument)
{
	children_each(pid, kill_tree, argument);
	kill(pid, SIGKILL);
}

void child_kill_tree(pid_t pid)
{
	kill_tree(pid, NULL);
}

void children_kill(void)
{
	/* Orphans come to us one generation at a time, so until there are no children left. */
	for (;;) {
		children_each(getpid(), kill_tree, NULL);
		if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
			return;
	}
}
