/* Where every thread is, for the log of a program that hangs; see children.h. */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "children.h"

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
	char *arguments[] = {"timeout", "60",
			     "gdb",     "-p",
			     number,    "-batch",
			     "-ex",     "set pagination off",
			     "-ex",     "thread apply all bt 30",
			     NULL};
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct launch launch = {arguments, NULL, nothing, -1, nothing, -1, NULL};
	static char text[1 << 20];

	snprintf(number, sizeof(number), "%d", pid);
	if (child_run_and_read(&launch, text, sizeof(text)) == 0)
		fputs(text, log);
	close(nothing);
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

	fprintf(log, "process %d:\n", pid);
	report_signals(log, pid);
	report_proc_threads(log, pid);
	children_each(pid, report_process, log);
}

static void report_process_backtraces(pid_t pid, void *argument)
{
	FILE *log = argument;

	fprintf(log, "process %d, backtraces:\n", pid);
	report_backtraces(log, pid);
	children_each(pid, report_process_backtraces, log);
}

void children_report_states(FILE *log)
{
	children_each(getpid(), report_process, log);
	fflush(log);
}

/* First all of what can be had without touching a process: gdb stops it, which may set it going. */
void children_report_threads(FILE *log)
{
	children_report_states(log);
	children_each(getpid(), report_process_backtraces, log);
	fflush(log);
}
