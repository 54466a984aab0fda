/* What the end-to-end programs share; see harness.h. */
#include "harness.h"

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

static char build_directory[PATH_MAX];

void (*harness_at_death)(void);
static volatile sig_atomic_t interrupted;

void harness_die(const char *format, ...)
{
	void (*at_death)(void) = harness_at_death;
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	harness_at_death = NULL;
	if (at_death)
		at_death();
	harness_kill_descendants();
	exit(1);
}

static void interrupt(int signal_number)
{
	interrupted = signal_number;
}

static void catch_interrupts(void)
{
	struct sigaction action = {.sa_handler = interrupt};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

char *harness_format(const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		abort();
	va_end(arguments);
	return text;
}

static void cut_last_component(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
}

void harness_begin(void)
{
	const char *from_environment = getenv("RESPCT_BUILD");
	ssize_t length;

	catch_interrupts();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		harness_die("prctl(PR_SET_CHILD_SUBREAPER): %s", strerror(errno));
	if (from_environment) {
		if (!realpath(from_environment, build_directory))
			harness_die("%s: %s", from_environment, strerror(errno));
		return;
	}
	length = readlink("/proc/self/exe", build_directory, sizeof(build_directory) - 1);
	if (length < 0)
		harness_die("/proc/self/exe: %s", strerror(errno));
	build_directory[length] = '\0';
	cut_last_component(build_directory);
	cut_last_component(build_directory);
}

char *harness_build_path(const char *name)
{
	return harness_format("%s/%s", build_directory, name);
}

int64_t harness_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t harness_random(uint64_t *state)
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
	if (launch->verify)
		setenv("RESPCT_VERIFY", "1", 1);
	execvp(launch->arguments[0], launch->arguments);
	perror(launch->arguments[0]);
	_exit(127);
}

pid_t harness_start(const struct launch *launch)
{
	pid_t child = fork();

	if (child < 0)
		harness_die("fork: %s", strerror(errno));
	if (child == 0)
		execute(launch);
	return child;
}

static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			harness_die("waitpid: %s", strerror(errno));
	}
	return status;
}

int harness_run(const struct launch *launch)
{
	return wait_for(harness_start(launch));
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

int harness_run_and_read(const struct launch *launch, char *text, size_t size)
{
	struct launch piped = *launch;
	pid_t child;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		harness_die("pipe: %s", strerror(errno));
	piped.output = ends[1];
	child = harness_start(&piped);
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
	struct launch launch = {arguments, NULL, nothing, nothing, -1, -1, false};

	harness_run(&launch);
}

void harness_remove(const char *path)
{
	char *arguments[] = {"rm", "-rf", "--", (char *)path, NULL};

	run_quietly(arguments);
}

void harness_copy(const char *from, const char *to)
{
	char *arguments[] = {"cp", "-a", "--", (char *)from, (char *)to, NULL};

	run_quietly(arguments);
}

char *harness_failed_directory(const char *name)
{
	const char *top = getenv("RESPCT_FAILED");
	char *path = harness_format("%s/%s", top ? top : harness_build_path("tests/failed"), name);
	char *parent = harness_format("%s", path);
	char *arguments[] = {"mkdir", "-p", "--", parent, NULL};

	cut_last_component(parent);
	run_quietly(arguments);
	return path;
}

/* ---- looking at a store ---- */

/* The text after "key: " on its own line, or NULL. */
static const char *value_of(const char *text, const char *key)
{
	size_t length = strlen(key);
	const char *line;

	for (line = text; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (!strncmp(line, key, length) && !strncmp(line + length, ": ", 2))
			return line + length + 2;
	}
	return NULL;
}

static uint64_t number_of(const char *text, const char *key)
{
	const char *value = value_of(text, key);

	return value ? strtoull(value, NULL, 10) : 0;
}

bool harness_store_view(const char *store, long user, struct store_view *view)
{
	char *arguments[] = {harness_build_path("respct"), "stat", (char *)store, NULL};
	int nothing = discard_descriptor();
	struct launch launch = {arguments, NULL, nothing, -1, nothing, user, false};
	const char *state;
	char text[8192];
	int status = harness_run_and_read(&launch, text, sizeof(text));

	memset(view, 0, sizeof(*view));
	state = value_of(text, "state");
	if (status != 0 || !state)
		return false;
	sscanf(state, "%15s", view->state);
	view->epoch = number_of(text, "epoch");
	view->pages = number_of(text, "pages");
	view->bytes = number_of(text, "bytes");
	view->checkpoints = number_of(text, "checkpoints");
	view->commit_time_ns = (int64_t)number_of(text, "commit_time_ns");
	return true;
}

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

static bool is_descendant(pid_t pid)
{
	while (pid > 1) {
		pid = parent_of(pid);
		if (pid == getpid())
			return true;
	}
	return false;
}

pid_t harness_store_pid(const char *store)
{
	char path[PATH_MAX];
	FILE *file;
	int pid = 0;

	snprintf(path, sizeof(path), "%s/pid", store);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid > 1 && is_descendant(pid) ? pid : 0;
}

/* ---- waiting ---- */

void harness_drain(int error_pipe, FILE *log)
{
	struct pollfd ready = {error_pipe, POLLIN, 0};
	char text[4096];
	ssize_t got;

	while (error_pipe >= 0 && poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN)) {
		got = read(error_pipe, text, sizeof(text));
		if (got <= 0)
			return;
		fwrite(text, 1, (size_t)got, log);
		fflush(log);
	}
}

static int milliseconds_until(int64_t deadline_ns)
{
	int64_t left = deadline_ns - harness_now_ns();

	if (left <= 0)
		return 0;
	left = (left + 999999) / 1000000;
	return left > 60000 ? 60000 : (int)left;
}

bool harness_wait(pid_t child, int64_t deadline_ns, int error_pipe, FILE *log, int *status)
{
	struct pollfd ready[2] = {
		{(int)syscall(SYS_pidfd_open, child, 0), POLLIN, 0},
		{error_pipe, POLLIN, 0},
	};
	bool dead = false;

	if (ready[0].fd < 0)
		harness_die("pidfd_open(%d): %s", child, strerror(errno));
	while (!dead) {
		int timeout = milliseconds_until(deadline_ns);

		poll(ready, 2, timeout);
		if (interrupted)
			harness_die("interrupted by signal %d", (int)interrupted);
		harness_drain(error_pipe, log);
		if (ready[0].revents & POLLIN)
			dead = waitpid(child, status, WNOHANG) == child;
		if (!dead && timeout == 0)
			break;
	}
	close(ready[0].fd);
	return dead;
}

const char *harness_status_text(int status)
{
	static char text[64];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	return text;
}

/* ---- descendants ---- */

/* Calls `action` for each child of `pid`, as /proc lists them now. */
static void for_each_child(pid_t pid, void (*action)(pid_t child, void *argument), void *argument)
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
	for_each_child(pid, kill_tree, argument);
	kill(pid, SIGKILL);
}

void harness_kill_descendants(void)
{
	/* Orphans come to us one generation at a time, so until there are no children left. */
	for (;;) {
		for_each_child(getpid(), kill_tree, NULL);
		if (waitpid(-1, NULL, 0) < 0 && errno == ECHILD)
			return;
	}
}

static void copy_proc_file(FILE *log, pid_t pid, const char *thread, const char *name)
{
	char path[PATH_MAX], text[1024];
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, thread, name);
	file = fopen(path, "re");
	if (!file)
		return;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	fprintf(log, "  thread %s %s: %s\n", thread, name, text);
}

static void report_proc_threads(FILE *log, pid_t pid)
{
	char path[64];
	struct dirent *entry;
	DIR *threads;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	threads = opendir(path);
	while (threads && (entry = readdir(threads))) {
		if (entry->d_name[0] == '.')
			continue;
		copy_proc_file(log, pid, entry->d_name, "stat");
		copy_proc_file(log, pid, entry->d_name, "wchan");
		copy_proc_file(log, pid, entry->d_name, "syscall");
	}
	if (threads)
		closedir(threads);
}

static void report_backtraces(FILE *log, pid_t pid)
{
	char number[16];
	char *arguments[] = {"timeout", "60", "gdb", "-p", number, "-batch", "-ex",
			     "set pagination off", "-ex", "thread apply all bt 30", NULL};
	int nothing = discard_descriptor();
	struct launch launch = {arguments, NULL, nothing, -1, nothing, -1, false};
	static char text[1 << 20];

	snprintf(number, sizeof(number), "%d", pid);
	if (harness_run_and_read(&launch, text, sizeof(text)) == 0)
		fputs(text, log);
}

/* The lines about signals: what is pending, blocked, ignored, caught. */
static void report_signals(FILE *log, pid_t pid)
{
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "Sig", 3) || !strncmp(line, "ShdPnd", 6) || !strncmp(line, "State", 5))
			fprintf(log, "  %s", line);
	if (file)
		fclose(file);
}

static void report_process(pid_t pid, void *argument)
{
	FILE *log = argument;

	fprintf(log, "process %d, parent %d:\n", pid, parent_of(pid));
	report_signals(log, pid);
	report_proc_threads(log, pid);
	for_each_child(pid, report_process, log);
}

static void report_process_backtraces(pid_t pid, void *argument)
{
	FILE *log = argument;

	fprintf(log, "process %d, backtraces:\n", pid);
	report_backtraces(log, pid);
	for_each_child(pid, report_process_backtraces, log);
}

/* First all of what can be had without touching a process: gdb stops it, which may set it going. */
void harness_report_threads(FILE *log)
{
	for_each_child(getpid(), report_process, log);
	fflush(log);
	for_each_child(getpid(), report_process_backtraces, log);
	fflush(log);
}
