/* respct-restore: brings a crashed process back from its store, and waits for it. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86_64/processor.h"
#include "base/fail.h"
#include "common/crash_record.h"
#include "common/processor.h"
#include "common/report.h"
#include "image.h"
#include "restore/descriptors/descriptors.h"
#include "restore/files/directory.h"
#include "restore/files/file_bytes.h"
#include "restore/files/others.h"
#include "restore/files/shared.h"
#include "restore/files/undo.h"
#include "restore/process/clocks.h"
#include "restore/process/process.h"
#include "restore/process/session.h"
#include "restore/restorer/build_plan.h"
#include "track/track.h"

/* What a process registers for by membarrier(2). */
#define REGISTRATIONS                                                                           \
	(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED | \
	 MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ)

#define TEST_PROCESSOR "RESPCT_TEST_PROCESSOR_WITHOUT" /* pretends that this feature is missing */
#define OWN_DESCRIPTORS 4096                           /* room for the tool's own, above the program's */

const char *argp_program_version = "respct-restore " RESPCT_VERSION;

/* Absolute path of the store. */
static char directory[PATH_MAX];

struct options {
	const char *directory;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct options *options = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (options->directory != NULL)
			refuse("one store at a time (try --help)");
		options->directory = argument;
		return 0;
	case ARGP_KEY_END:
		if (options->directory == NULL)
			refuse("which store? (try --help)");
		return 0;
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp parser = {
	.parser = parse_option,
	.args_doc = "STORE",
	.doc = "Bring the crashed process back whose checkpoints are in the directory STORE."
	       "\vStays in the foreground, hands signals on, and ends as the process ends. Exit status 125: "
	       "nothing could be restored.",
};

/* Descriptors from here on are ours. */
static int first_own_descriptor(const struct image *image)
{
	struct rlimit limit;
	int first = image->highest_descriptor + 1;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if ((rlim_t)first + 64 > limit.rlim_cur)
		refuse("the program has descriptor %d open and the limit here is %lu: raise it (ulimit -n)",
		       image->highest_descriptor, (unsigned long)limit.rlim_cur);
	return (rlim_t)first + OWN_DESCRIPTORS < limit.rlim_cur ? first + OWN_DESCRIPTORS / 2 : first;
}

static int open_lock(int lowest_fd)
{
	int fd = rt_store_open_file(directory, "lock", O_RDWR, lowest_fd);
	if (fd < 0)
		refuse("%s: %s", directory, rt_store_problem());
	return fd;
}

/* The store's lock, which the process then holds for good. */
static int lock_store(int lowest_fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open_lock(lowest_fd);
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		fcntl(fd, F_GETLK, &lock);
		refuse("%s: in use by process %d", directory, lock.l_pid);
	}
	return fd;
}

/* What the runtime will open again, when there is no way back. */
static void check_other_files(void)
{
	static const char *const names[] = {"statistics", CRASH_FILE, "pid", "undo0", "undo1"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd = rt_store_open_file(directory, names[i], O_RDWR | O_CREAT, 0);
		if (fd < 0)
			refuse("%s: %s", directory, rt_store_problem());
		close(fd);
	}
}

/* What does not change when the memory does. */
static void take_settings(const struct manifest_process *process)
{
	char text[16];
	prctl(PR_SET_CHILD_SUBREAPER, process->child_subreaper != 0, 0, 0, 0);
	prctl(PR_SET_THP_DISABLE, process->no_huge_pages != 0, 0, 0, 0);
	for (uint32_t left = process->memory_barriers & REGISTRATIONS; left != 0; left &= left - 1)
		syscall(SYS_membarrier, left & -left, 0, 0);
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t length = read(fd, text, sizeof(text) - 1);
	text[length > 0 ? length : 0] = '\0';
	if (atoi(text) != process->oom_score_adjustment &&
	    (length = snprintf(text, sizeof(text), "%d", process->oom_score_adjustment)) > 0 &&
	    write(fd, text, (size_t)length) < 0)
		report("the process had %d as its oom_score_adj: %s", process->oom_score_adjustment, strerror(errno));
	close(fd);
}

/* Where the runtime may write its lines, if the program gets that as its stderr. */
static void note_stderr(struct plan *plan)
{
	struct stat status;
	if (fstat(STDERR_FILENO, &status) < 0)
		return;
	plan->resume.stderr_device = status.st_dev;
	plan->resume.stderr_inode = status.st_ino;
}

/* What goes wrong is told here, not to what the program has under that number. */
static void keep_stderr(int lowest_fd)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, lowest_fd);
	if (fd < 0)
		return;
	report_to(fd);
	*PLAN_MESSAGE_FD = fd;
}

static void reach(enum rt_fail_point point)
{
	int result = rt_fail(point);
	if (result < 0)
		refuse("%s: %s at %s", directory, strerror(-result), rt_fail_names[point]);
}

static void set_fail_point(void)
{
	const char *value = getenv(RT_FAIL_VARIABLE);
	static struct rt_fail_settings fail;
	if (value == NULL || value[0] == '\0')
		return;
	if (rt_fail_parse(value, &fail) < 0)
		refuse("%s=%s: not POINT:ACTION[:FIRST[:TIMES]], as runtime/base/fail.h has them", RT_FAIL_VARIABLE,
		       value);
	rt_fail_settings = &fail;
}

/* The restored process goes on counting where this one ends. */
static void hand_on_fail_point(struct plan *plan)
{
	if (rt_fail_settings != NULL)
		plan->resume.fail = *rt_fail_settings;
}

/* How the restored process will find what it writes: as the kernel here can, not the one of the checkpoint. */
static enum rt_track_kind choose_tracking(void)
{
	const char *step = "", *name = getenv(RT_TRACK_VARIABLE);
	enum rt_track_kind wanted = rt_track_named(name), kind;
	if (wanted == RT_TRACK_KINDS)
		refuse(RT_TRACK_VARIABLE "=%s: not " RT_TRACK_NAMES, name);
	int result = rt_track_choose(wanted, &kind, &step);
	if (result < 0 && wanted != RT_TRACK_ANY)
		refuse(RT_TRACK_VARIABLE "=%s: not available here: %s: %s", name, step, strerror(-result));
	if (result < 0)
		refuse("this kernel cannot track memory: %s: %s", step, strerror(-result));
	return kind;
}

/* The rest of this process's life: it becomes the old one. */
static void become(void *argument)
{
	(void)argument;
	struct image image;
	char problem[1024] = "";
	session_enter();
	enum rt_track_kind track = choose_tracking();
	image_open(&image, directory, 3);
	int lowest_fd = first_own_descriptor(&image);
	rt_store_close(image.store);
	reach(RT_FAIL_RESTORE_OPENED);
	int lock_fd = lock_store(lowest_fd);
	reach(RT_FAIL_RESTORE_LOCKED);
	image_open(&image, directory, lowest_fd);
	if (rt_store_check(image.store) < 0)
		refuse("%s: %s", directory, rt_store_problem());
	reach(RT_FAIL_RESTORE_CHECKED);
	if (restore_check_descriptors(image.manifest, image.manifest_length, lowest_fd, problem, sizeof(problem)) < 0)
		refuse("%s: %s", directory, problem);
	undo_changes(&image, directory, lowest_fd);
	reach(RT_FAIL_RESTORE_UNDONE);
	check_files(&image);
	write_file_bytes(&image);
	reach(RT_FAIL_RESTORE_FILES);
	shared_make(&image, lowest_fd);
	reach(RT_FAIL_RESTORE_SHARED);
	struct plan *plan = build_plan(&image, lowest_fd, lock_fd);
	reach(RT_FAIL_RESTORE_PLANNED);
	note_stderr(plan);
	plan->resume.track = (int32_t)track;
	if (session_window_changed(&image))
		plan->process.pending |= 1UL << (SIGWINCH - 1);
	enter_directory(&image);
	umask(image.process->umask);
	take_settings(image.process);
	keep_stderr(lowest_fd);
	if (restore_descriptors(image.manifest, image.manifest_length, lowest_fd, problem, sizeof(problem)) < 0)
		refuse("%s", problem);
	reach(RT_FAIL_RESTORE_DESCRIPTORS);
	shared_put_back(&image);
	complete_plan(&image, plan);
	reach(RT_FAIL_RESTORE_ENTER);
	hand_on_fail_point(plan);
	enter_restorer(plan);
}

static void write_pid_file(pid_t pid)
{
	int fd = rt_store_open_file(directory, "pid", O_WRONLY | O_CREAT | O_TRUNC, 0);
	if (fd < 0)
		report("%s: %s", directory, rt_store_problem());
	else if (dprintf(fd, "%d\n", pid) < 0)
		report("%s/pid: %s", directory, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Ends as the process ended. */
static void end_like(int status)
{
	if (WIFEXITED(status))
		exit(WEXITSTATUS(status));
	int signal_number = WTERMSIG(status);
	struct rlimit no_core = {0, 0};
	sigset_t set;
	setrlimit(RLIMIT_CORE, &no_core);
	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	raise(signal_number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	exit(128 + signal_number);
}

/* The value of a line of /proc/PID/status, in base 16; 0 without the line. */
static unsigned long status_value(const char *text, const char *name)
{
	const char *line = strstr(text, name);
	return line != NULL ? strtoul(line + strlen(name), NULL, 16) : 0;
}

/*
 * Whether a process has been killed, and just takes its time: to free a large memory, to write a core.
 * A fatal signal leaves SIGKILL pending in all threads until they are gone.
 */
static bool is_dying(pid_t pid)
{
	char path[64], text[4096];
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT;
	ssize_t length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return true;
	text[length] = '\0';
	unsigned long killed = 1UL << (SIGKILL - 1);
	return strstr(text, "\nState:\tZ") != NULL || strstr(text, "\nState:\tX") != NULL ||
	       ((status_value(text, "\nSigPnd:\t") | status_value(text, "\nShdPnd:\t")) & killed) != 0 ||
	       status_value(text, "\nCoreDumping:\t") != 0;
}

static void wait_for_end(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	if (fd < 0)
		return;
	while (poll(&wait, 1, -1) < 0 && errno == EINTR)
		;
	close(fd);
}

/* Asked before the process gets a namespace, where it could not name the holder. */
static void refuse_if_alive(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open_lock(0);
	while (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
		if (lock.l_pid <= 0 || !is_dying(lock.l_pid))
			refuse("%s: in use by process %d", directory, lock.l_pid);
		wait_for_end(lock.l_pid);
		lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
	}
	close(fd);
}

static void tell_of_crash(const struct store_status *status)
{
	struct crash_record record;
	char text[256];
	if (!crash_read(directory, &record))
		return;
	crash_describe(&record, text, sizeof(text));
	if (record.note.owner_start == status->owner_start)
		report("the program last died of %s: see respct inspect", text);
	crash_free(&record);
}

/* Children that ran do not come back; a program that cannot do without them is told apart from a bad restore. */
static void tell_of_children(const struct image *image)
{
	const struct manifest_child *child;
	size_t cursor = 0, used = 0;
	uint32_t length;
	char numbers[64] = "";
	int count = 0;
	while ((child = image_next(image, &cursor, MANIFEST_CHILD, &length)) != NULL) {
		if (child->ended)
			continue;
		count++;
		if (used < sizeof(numbers) - 16)
			used += (size_t)snprintf(numbers + used, sizeof(numbers) - used, " %d", child->pid);
	}
	if (count > 0)
		report("%d child process%s of the program's that ran at the checkpoint %s gone, reported to it as "
		       "killed:%s%s",
		       count, count > 1 ? "es" : "", count > 1 ? "are" : "is", numbers,
		       used < sizeof(numbers) - 16 ? "" : " ...");
}

/* Code that the program has chosen for its processor must run here. */
static void check_processor(const struct image *image)
{
	struct manifest_processor here;
	char names[1024];
	const char *removed = getenv(TEST_PROCESSOR);
	rt_arch_read_processor(&here);
	if (removed != NULL && !processor_remove(&here, removed))
		refuse("%s=%s: no such feature", TEST_PROCESSOR, removed);
	if (processor_missing(image->processor, &here, names, sizeof(names)) > 0)
		refuse("this machine's processor lacks %s, which the program may be using: restore on one like %s",
		       names, image->processor->name);
}

/* The absolute path of what is to be a directory, as everywhere else, and no symbolic link to one. */
static void find_store(const char *path)
{
	char plain[PATH_MAX];
	struct stat status;
	size_t length = (size_t)snprintf(plain, sizeof(plain), "%s", path);
	while (length > 1 && length < sizeof(plain) && plain[length - 1] == '/')
		plain[--length] = '\0';
	if (lstat(plain, &status) < 0 || realpath(plain, directory) == NULL)
		refuse("%s: %s", path, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		refuse("%s: not a directory, or a symbolic link to one", path);
}

int main(int argc, char **argv)
{
	struct options options = {0};
	struct image image;
	parse_arguments(&parser, argc, argv, 0, &options);
	find_store(options.directory);
	set_fail_point();
	image_open(&image, directory, 3);
	pid_t pid = image.process->pid;
	check_processor(&image);
	shared_look_around(&image);
	clocks_compare(image.process);
	struct store_status status = image.status;
	session_prepare(&image);
	tell_of_children(&image);
	refuse_if_alive();
	if (shared_has_files(&image) || undo_has_files_in_memory(&image, directory))
		others_look_around();
	rt_store_close(image.store);
	check_other_files();
	tell_of_crash(&status);
	fflush(NULL);
	int status_of_process = run_with_pid(pid, become, NULL, write_pid_file);
	session_ended(status_of_process);
	end_like(status_of_process);
}
