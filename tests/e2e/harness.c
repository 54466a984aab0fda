/* What the end-to-end programs share; see harness.h. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/report.h"

static char build_directory[PATH_MAX];

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

	children_adopt();
	if (from_environment) {
		if (!realpath(from_environment, build_directory))
			refuse("%s: %s", from_environment, strerror(errno));
		return;
	}
	length = readlink("/proc/self/exe", build_directory, sizeof(build_directory) - 1);
	if (length < 0)
		refuse("/proc/self/exe: %s", strerror(errno));
	build_directory[length] = '\0';
	cut_last_component(build_directory);
	cut_last_component(build_directory);
}

char *harness_build_path(const char *name)
{
	return format_text("%s/%s", build_directory, name);
}

char *harness_failed_directory(const char *name)
{
	const char *top = getenv("RESPCT_FAILED");
	char *path = format_text("%s/%s", top ? top : harness_build_path("tests/failed"), name);
	char *parent = format_text("%s", path);
	char *arguments[] = {"mkdir", "-p", "--", parent, NULL};
	struct launch launch = {arguments, NULL, -1, -1, -1, -1, NULL};

	cut_last_component(parent);
	child_run(&launch);
	return path;
}

void harness_log(FILE *log, int64_t begin_ns, const char *format, va_list arguments)
{
	fprintf(log, "[%7.3f] ", (double)(now_ns() - begin_ns) / 1e9);
	vfprintf(log, format, arguments);
	fputc('\n', log);
	fflush(log);
}

void harness_give(const char *path, long user)
{
	if (user >= 0 && chown(path, (uid_t)user, (gid_t)user))
		refuse("chown %s: %s", path, strerror(errno));
}

void harness_memcached(char *arguments[MEMCACHED_ARGUMENTS], char *port, long user)
{
	char *const all[MEMCACHED_ARGUMENTS] = {"memcached", "-l",   "127.0.0.1", "-p", port, "-U", "0",
						"-m",        "1024", "-M",        "-t", "4",  "-u", "nobody"};

	memcpy(arguments, all, sizeof(all));
	if (getuid() != 0 || user >= 0)
		arguments[12] = NULL;
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
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct launch launch = {arguments, NULL, nothing, -1, nothing, user, NULL};
	const char *state;
	char text[8192];
	int status = child_run_and_read(&launch, text, sizeof(text));

	close(nothing);
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
