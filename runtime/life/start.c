/* Starting and ending protection; see start.h. Ordinary code on the program's own threads. */
#include "start.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/hidden.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "crash.h"
#include "daemon.h"
#include "environment.h"
#include "go.h"
#include "pause.h"
#include "respct.h"
#include "store/persist.h"
#include "threads/handler.h"
#include "threads/thread.h"

#define STORE_VARIABLE "RESPCT_STORE"
#define DEFAULT_INTERVAL_MS 64
#define LEAST_DESCRIPTORS 64
#define MIN_INTERVAL_MS 1
#define MAX_INTERVAL_MS 3600000
/* Below glibc's own uses at the low end, and not the last one, which programs like to take. */
#define DEFAULT_SIGNAL (SIGRTMAX - 3)
#define GO_SIGNAL SIGRTMIN /* the only one from here to SIGRTMAX that Go's runtime never blocks or handles */

struct engine_options rt_options;
int rt_finished;

/* Whether this process was protected and has executed another program: that goes on, protected or not. */
static bool executed;
static jmp_buf as_unprotected;

static void cannot_protect(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* A program that has just been started is refused. */
static void cannot_protect(const char *format, ...)
{
	char line[PATH_MAX + 256];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (!executed)
		rt_refuse("%s", line);
	rt_say("%s: running unprotected from here on", line);
	longjmp(as_unprotected, 1);
}

static const char *option(const char *name)
{
	const char *value = getenv(name);
	return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool option_set(const char *name)
{
	const char *value = option(name);
	return value != NULL && strcmp(value, "0") != 0;
}

static long option_number(const char *name, long fallback, long lowest, long highest)
{
	const char *value = option(name);
	char *end;
	if (value == NULL)
		return fallback;
	errno = 0;
	long number = strtol(value, &end, 10);
	if (errno != 0 || *end != '\0' || number < lowest || number > highest)
		cannot_protect("%s=%s: not a number from %ld to %ld", name, value, lowest, highest);
	return number;
}

static enum store_durability option_durability(void)
{
	const char *value = option("RESPCT_DURABILITY");
	if (value == NULL || strcmp(value, "process") == 0)
		return STORE_DURABILITY_PROCESS;
	if (strcmp(value, "power") == 0)
		return STORE_DURABILITY_POWER;
	cannot_protect("RESPCT_DURABILITY=%s: neither \"process\" nor \"power\"", value);
}

static void read_options(void)
{
	rt_options.has_go = rt_has_go();
	rt_options.interval_ns =
		1000000 * option_number("RESPCT_INTERVAL_MS", DEFAULT_INTERVAL_MS, MIN_INTERVAL_MS, MAX_INTERVAL_MS);
	rt_options.durability = option_durability();
	rt_options.signal =
		(int)option_number("RESPCT_SIGNAL", rt_options.has_go ? GO_SIGNAL : DEFAULT_SIGNAL, SIGRTMIN, SIGRTMAX);
	rt_options.verify = option_set("RESPCT_VERIFY");
	rt_options.fresh = option_set("RESPCT_FRESH");
	rt_options.quiet = option_set("RESPCT_QUIET");
}

static void set_fail_point(void)
{
	const char *value = option(RT_FAIL_VARIABLE);
	struct rt_fail_settings fail;
	if (value == NULL)
		return;
	if (rt_fail_parse(value, &fail) < 0)
		cannot_protect("%s=%s: not POINT:ACTION[:FIRST[:TIMES]], as runtime/base/fail.h has them",
			       RT_FAIL_VARIABLE, value);
	if (rt_fail_set(&fail) < 0)
		cannot_protect("%s: no memory", RT_FAIL_VARIABLE);
}

/*
 * A child of a protected process inherits the environment and runs on undisturbed. The variable
 * holds the pid of the process that was protected with it: equal to ours after an exec.
 */
static bool is_child_of_protected(void)
{
	const char *value = option(RT_PROTECTED_VARIABLE);
	executed = value != NULL && atoi(value) == getpid();
	return value != NULL && !executed;
}

/* Also for a program that is executed in another directory. */
static void mark_environment(void)
{
	char text[16];
	setenv(STORE_VARIABLE, rt_root.directory, 1);
	snprintf(text, sizeof(text), "%d", getpid());
	rt_environment_keep();
	rt_environment_set(RT_PROTECTED_VARIABLE, text);
}

/* Whether `pid` is an ancestor of ours: then its store is ours to leave alone. */
static bool is_ancestor(int pid)
{
	int at = getppid();
	for (int depth = 0; at > 1 && depth < 64; depth++) {
		char path[64], line[256];
		if (at == pid)
			return true;
		snprintf(path, sizeof(path), "/proc/%d/stat", at);
		FILE *file = fopen(path, "re");
		if (file == NULL)
			return false;
		const char *end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
		fclose(file);
		if (end == NULL || sscanf(end, ") %*c %d", &at) != 1)
			return false;
	}
	return false;
}

static void choose_tracking(void)
{
	const char *step = "", *name = option(RT_TRACK_VARIABLE);
	enum rt_track_kind wanted = rt_track_named(name);
	if (wanted == RT_TRACK_KINDS)
		cannot_protect(RT_TRACK_VARIABLE "=%s: not " RT_TRACK_NAMES, name);
	int result = rt_track_choose(wanted, &rt_options.track, &step);
	if (result < 0 && wanted != RT_TRACK_ANY)
		cannot_protect(RT_TRACK_VARIABLE "=%s: not available here: %s: %s", name, step, rt_error_text(result));
	if (result < 0)
		cannot_protect("this kernel cannot track memory: %s: %s", step, rt_error_text(result));
}

/* The runtime opens some two dozen, in the upper half of a small limit. */
static void require_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < LEAST_DESCRIPTORS)
		cannot_protect(
			"the limit of %lu open files leaves no room for the runtime's own: raise it to %d or more "
			"(ulimit -n)",
			(unsigned long)limit.rlim_cur, LEAST_DESCRIPTORS);
}

/* libpmem drags in a dozen libraries: only where there is persistent memory. */
static void load_libpmem_for(const char *path)
{
	int fd = rt_store_open_file(path, "log", O_RDWR, 0);
	if (fd >= 0 && rt_persist_probe_pmem(fd))
		rt_persist_load_libpmem();
	if (fd >= 0)
		close(fd);
}

/* What to do about an error, if that is known. */
static const char *advice(int error)
{
	return error == -ENOMEM && rt_memory_is_limited() ? ": raise the program's limit (ulimit -v, ulimit -d)" : "";
}

static bool is_owner(const struct store_status *status)
{
	return status->owner_pid == getpid() && status->owner_start == rt_process_start_time();
}

/* Opens the store for a new run. NULL: this process is to run unprotected. */
static struct store *open_store(const char *path)
{
	struct store *store = NULL;
	struct store_status status;
	int holder = 0;
	int result = rt_store_create(path, rt_options.durability);
	if (result < 0 && result != -EEXIST)
		cannot_protect("%s: cannot create the store: %s%s", path,
			       result == -ENOMEM || result == -EINVAL ? rt_error_text(result) : rt_store_problem(),
			       result == -ENOTDIR ? ": a store is a directory of files, on a file system" : "");
	load_libpmem_for(path);
	result = rt_store_open(path, true, rt_hidden_floor(), &store, &holder);
	if (result == -EBUSY && is_ancestor(holder))
		return NULL;
	if (result == -EBUSY)
		cannot_protect("%s: in use by process %d", path, holder);
	if (result < 0)
		cannot_protect("%s: %s%s", path, rt_store_problem(), advice(result));
	rt_store_status(store, &status);
	if (status.state == STORE_RUNNING && status.epoch > 0 && !rt_options.fresh && !is_owner(&status))
		cannot_protect(
			"%s: holds a crashed run: bring it back with respct-restore, or overwrite it with --fresh",
			path);
	if (status.durability != rt_options.durability)
		cannot_protect("%s: was made with the other durability class: remove it, or name another directory",
			       path);
	if ((result = rt_store_clear(store)) < 0 ||
	    (result = rt_store_set_owner(store, getpid(), rt_process_start_time())) < 0)
		cannot_protect("%s: %s", path, rt_error_text(result));
	return store;
}

int rt_write_pid_file(void)
{
	char text[16];
	int fd = rt_store_open_file(rt_root.directory, "pid", O_WRONLY | O_CREAT | O_TRUNC, 0);
	if (fd < 0)
		return fd;
	size_t length = rt_format(text, sizeof(text), "%d\n", rt_root.pid);
	ssize_t written = rt_sys_write(fd, text, length);
	rt_sys_close(fd);
	return written < 0 ? (int)written : 0;
}

/*
 * Whether a daemon in the making has executed this program: then the variable names the protected
 * process behind its own number. Unless it has taken the store over by then.
 */
static bool is_daemon_in_the_making(const char *path, int *ancestor)
{
	const char *value = option(RT_PROTECTED_VARIABLE);
	struct store *store;
	struct store_status status;
	int self;
	if (value == NULL || sscanf(value, "%d,%d", &self, ancestor) != 2)
		return false;
	if (rt_store_open(path, false, rt_hidden_floor(), &store, NULL) < 0)
		return true;
	rt_store_status(store, &status);
	rt_store_close(store);
	return !is_owner(&status);
}

static void stand_by_for(const char *path, int ancestor)
{
	if (realpath(path, rt_root.directory) == NULL)
		return;
	rt_handler_start(rt_options.signal);
	rt_root.signal = rt_options.signal;
	rt_root.own_signals = 1UL << (rt_options.signal - 1);
	setenv(STORE_VARIABLE, rt_root.directory, 1);
	rt_environment_keep();
	if (rt_threads_start() == 0 && rt_straggler_install(rt_options.signal, rt_options.has_go) == 0)
		rt_stand_by_for(ancestor);
}

static void protect(const char *path)
{
	struct store *store = open_store(path);
	struct engine *engine = rt_engine_make();
	const char *step;
	if (store == NULL)
		return;
	if (realpath(path, rt_root.directory) == NULL)
		cannot_protect("%s: %s", path, rt_error_text(errno));
	rt_handler_start(rt_options.signal);
	rt_root.signal = rt_options.signal;
	rt_root.own_signals = 1UL << (rt_options.signal - 1);
	rt_root.pid = getpid();
	int result = rt_threads_start();
	if (result == 0)
		result = rt_straggler_install(rt_options.signal, rt_options.has_go);
	if (result < 0)
		cannot_protect("cannot start: %s%s", rt_error_text(result), advice(result));
	result = rt_engine_open(engine, store, &step);
	if (result < 0)
		cannot_protect("cannot start: %s: %s%s", step, rt_error_text(result), advice(result));
	rt_crash_clear(engine);
	if ((result = rt_write_pid_file()) < 0)
		cannot_protect("%s/pid: %s", rt_root.directory, rt_error_text(result));
	mark_environment();
	rt_root.engine = rt_root.stopper = engine;
	rt_crash_install();
	result = rt_checkpoint_start(engine);
	if (result < 0)
		cannot_protect("cannot start the checkpoint thread: %s%s", rt_error_text(result), advice(result));
	if (rt_options.has_go && !rt_options.quiet)
		rt_say("the program has code in Go, which calls the kernel without libc: bytes it overwrites in files "
		       "are not undone, and when it ends by itself it still looks killed");
	if (!rt_options.quiet)
		rt_say("checkpoints go to %s (they survive the process%s)", rt_root.directory,
		       rt_options.durability == STORE_DURABILITY_POWER ? " and a loss of power"
								       : ", not a loss of power");
}

static void forget_engine(void)
{
	if (rt_root.engine != NULL)
		rt_crash_remove();
	rt_root.engine = rt_root.stopper = NULL;
	rt_root.wanted = 0;
}

void rt_start(void)
{
	const char *path = option(STORE_VARIABLE);
	if (path == NULL || is_child_of_protected())
		return;
	int ancestor;
	rt_message_begin();
	if (setjmp(as_unprotected) != 0) {
		/* What is open stays so: the store is locked. */
		forget_engine();
		if (rt_local.thread != NULL)
			rt_threads_forget();
		return;
	}
	read_options();
	require_descriptors();
	choose_tracking();
	set_fail_point();
	if (is_daemon_in_the_making(path, &ancestor))
		stand_by_for(path, ancestor);
	else
		protect(path);
}

void rt_finish(int wait_status)
{
	if (!rt_is_protected() || __atomic_exchange_n(&rt_finished, 1, __ATOMIC_ACQ_REL))
		return;
	struct engine *engine = rt_root.engine;
	rt_checkpoint_stop(engine);
	rt_end_store(engine, wait_status);
}

void rt_end_store(struct engine *engine, int wait_status)
{
	rt_fail(RT_FAIL_END_BEGIN);
	int result = engine->removed ? 0 : rt_store_set_ended(engine->store, wait_status);
	if (result < 0)
		rt_say("%s: %s: it cannot be noted that the program has ended: the last checkpoint stays",
		       rt_root.directory, rt_error_text(result));
	char path[PATH_MAX + 8];
	rt_format(path, sizeof(path), "%s/pid", rt_root.directory);
	/* In a directory of the same name there may be another store by now. */
	if (!engine->removed)
		rt_syscall(SYS_unlink, path);
	rt_fail(RT_FAIL_END_DONE);
}

void rt_note_fork(void)
{
	if (rt_root.engine != NULL)
		rt_root.engine->forked = 1;
}

void rt_leave_child(void)
{
	forget_engine();
	rt_fail_settings = NULL;
	rt_close_hidden();
	rt_forget_pauses();
	rt_threads_forget();
}

__attribute__((visibility("default"))) int respct_checkpoint(void)
{
	return rt_checkpoint_now();
}

__attribute__((visibility("default"))) int respct_protected(void)
{
	return rt_is_protected();
}
