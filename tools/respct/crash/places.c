/* The directory of a session, its log, and the evidence of a failure; see crash.h. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/children.h"
#include "common/report.h"
#include "crash.h"
#include "respct/commands.h"

#define TAIL_LINES 25
#define TAIL_BYTES 8192

static struct crash *to_clean_up;
static bool evidence_is_in_work;

/* At the end of the command, whatever its reason. */
static void clean_up(void)
{
	struct crash *crash = to_clean_up;
	int interrupted = children_interrupted();
	children_kill();
	if (crash->store_is_ours)
		remove_tree(crash->store);
	if (!evidence_is_in_work)
		remove_tree(crash->work);
	if (interrupted == 0)
		return;
	crash_points_interrupted(crash);
	report("interrupted; seed %lu", (unsigned long)crash->options.seed);
	signal(interrupted, SIG_DFL);
	raise(interrupted);
}

char *crash_path(const struct crash *crash, const char *name)
{
	return format_text("%s/%s", crash->work, name);
}

static char *absolute(const char *path)
{
	char here[PATH_MAX];
	if (path[0] == '/')
		return format_text("%s", path);
	if (getcwd(here, sizeof(here)) == NULL)
		refuse("the current directory: %s", strerror(errno));
	return format_text("%s/%s", here, path);
}

/* Like that of respct run, but for a directory that is there already: it is removed at the end. */
static void choose_store(struct crash *crash)
{
	char base[PATH_MAX];
	if (crash->options.store != NULL) {
		crash->store = absolute(crash->options.store);
	} else {
		default_base(base);
		crash->store = format_text("%s/crash-%.64s.%d", base, crash->name, getpid());
		remove_tree(crash->store); /* left by a process of this number that was killed */
	}
	if (access(crash->store, F_OK) == 0)
		refuse("%s: exists already: the store of this session is made, and removed at the end", crash->store);
	crash->store_is_ours = true;
}

/* A report that cannot be written is better known at the start. */
static void check_writable(const char *option, const char *path, bool directory)
{
	if (path == NULL)
		return;
	if (directory && mkdir(path, 0777) < 0 && errno != EEXIST)
		refuse("--%s=%s: %s", option, path, strerror(errno));
	int fd = directory ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
			   : open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || access(path, W_OK) < 0)
		refuse("--%s=%s: %s", option, path, strerror(errno));
	close(fd);
}

/* The log and a scratch directory are on a disk, so that programs meet real files; the store in memory. */
void crash_make_places(struct crash *crash)
{
	const struct crash_options *options = &crash->options;
	const char *base = getenv("TMPDIR");
	const char *slash = strrchr(options->program[0], '/');
	crash->began_ns = now_ns();
	crash->name = slash != NULL ? slash + 1 : options->program[0];
	check_writable("report", options->report, false);
	check_writable("keep", options->keep, true);
	crash->work = format_text("%s/respct-crash-XXXXXX", base != NULL && base[0] != '\0' ? base : "/var/tmp");
	if (mkdtemp(crash->work) == NULL)
		refuse("%s: %s", crash->work, strerror(errno));
	to_clean_up = crash;
	if (atexit(clean_up) != 0)
		refuse("out of memory");
	choose_store(crash);
	crash->directory = options->scratch ? crash_path(crash, "directory") : absolute(".");
	crash->log = fopen(crash_path(crash, "log"), "w+e");
	if (crash->log == NULL || pipe2(crash->error_pipe, O_CLOEXEC) < 0)
		refuse("%s/log: %s", crash->work, strerror(errno));
	crash->input = open(options->input != NULL ? options->input : "/dev/null", O_RDONLY | O_CLOEXEC);
	if (crash->input < 0)
		refuse("%s: %s", options->input != NULL ? options->input : "/dev/null", strerror(errno));
}

/* A file that is the input is read from its beginning in each run. */
void crash_prepare_directory(struct crash *crash)
{
	int status;
	lseek(crash->input, 0, SEEK_SET);
	if (crash->options.scratch) {
		remove_tree(crash->directory);
		if (mkdir(crash->directory, 0755) < 0)
			refuse("%s: %s", crash->directory, strerror(errno));
	}
	if (crash->options.setup == NULL)
		return;
	if (!crash_shell(crash, crash->options.setup, 0, &status))
		crash_fail_hung(crash, "--setup");
	if (status != 0)
		crash_fail(crash, "--setup: %s", status_text(status));
}

int crash_open_output(const struct crash *crash, const char *name)
{
	char *path = crash_path(crash, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		refuse("%s: %s", path, strerror(errno));
	return fd;
}

void crash_note(struct crash *crash, const char *format, ...)
{
	va_list arguments;
	child_drain(crash->error_pipe[0], crash->log);
	fprintf(crash->log, "[%7.3f] ", (double)(now_ns() - crash->began_ns) / 1e9);
	va_start(arguments, format);
	vfprintf(crash->log, format, arguments);
	va_end(arguments);
	fputc('\n', crash->log);
	fflush(crash->log);
}

const char *crash_keep_evidence(struct crash *crash)
{
	children_kill();
	child_drain(crash->error_pipe[0], crash->log);
	fflush(crash->log);
	if (strncmp(crash->store, crash->work, strlen(crash->work)) != 0 && access(crash->store, F_OK) == 0)
		copy_tree(crash->store, crash_path(crash, "store"));
	if (crash->options.keep == NULL) {
		evidence_is_in_work = true;
		return crash->work;
	}
	char *directory =
		format_text("%s/%s-%lu", crash->options.keep, crash->name, (unsigned long)crash->options.seed);
	for (int i = 2; access(directory, F_OK) == 0; i++)
		directory = format_text("%s/%s-%lu.%d", crash->options.keep, crash->name,
					(unsigned long)crash->options.seed, i);
	copy_tree(crash->work, directory);
	return directory;
}

char *crash_log_tail(struct crash *crash)
{
	char *text = calloc(1, TAIL_BYTES + 1);
	if (text == NULL)
		refuse("out of memory");
	fseek(crash->log, 0, SEEK_END);
	long size = ftell(crash->log);
	fseek(crash->log, size > TAIL_BYTES ? size - TAIL_BYTES : 0, SEEK_SET);
	size_t length = fread(text, 1, TAIL_BYTES, crash->log), lines = 0;
	fseek(crash->log, 0, SEEK_END);
	while (length > 0 && text[length - 1] == '\n')
		text[--length] = '\0';
	char *start = text + strlen(text);
	while (start > text && (start[-1] != '\n' || ++lines < TAIL_LINES))
		start--;
	memmove(text, start, strlen(start) + 1);
	return text;
}
