/*
 * For tests/unit/test_descriptor*.c: a process whose descriptors are captured, and a fresh
 * process in which they are restored.
 *
 * A test is a pair of functions: `prepare` opens descriptors at fixed numbers, `verify` uses them.
 * The harness runs, each in its own process:
 *   prepare, capture, verify      nothing was consumed, no descriptor appeared or went
 *   restore, verify               what was captured is back
 *   restore, capture, then restore, verify: a second generation
 * Functions run outside Criterion, so they report through CHECK().
 */
#ifndef TEST_DESCRIPTOR_HARNESS_H
#define TEST_DESCRIPTOR_HARNESS_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/descriptor/descriptor.h"
#include "tools/restore/descriptors/descriptors.h"

#define HIDDEN_FROM 900 /* numbers of the harness's own descriptors */
#define STORE_SIZE (8 * 1024 * 1024)

/* Shared with the child processes. */
struct scene {
	char failure[512];
	char problem[512]; /* of restore_descriptors() */
	int restored;      /* its result */
	size_t length;     /* of the manifest */
	uint8_t manifest[STORE_SIZE];
};

static struct scene *scene;
static char folder[64]; /* each test's own directory, and its working directory */

#define CHECK(condition)                                                                                             \
	do {                                                                                                         \
		if (!(condition)) {                                                                                  \
			snprintf(scene->failure, sizeof(scene->failure), "%s:%d: %s (errno %d)", __FILE__, __LINE__, \
				 #condition, errno);                                                                 \
			_exit(1);                                                                                    \
		}                                                                                                    \
	} while (0)

static inline void open_scene(void)
{
	struct rlimit limit = {4096, 4096};
	setrlimit(RLIMIT_NOFILE, &limit);
	scene = mmap(NULL, sizeof(*scene), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	strcpy(folder, "/tmp/respct-descriptor-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
}

static inline void close_scene(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_expect_eq(system(command), 0);
	munmap(scene, sizeof(*scene));
}

/* Runs `body` in a process of its own; the test fails when a CHECK in it does. */
static inline void in_process(void (*body)(void *), void *argument)
{
	scene->failure[0] = '\0';
	pid_t child = fork();
	if (child == 0) {
		signal(SIGPIPE, SIG_IGN); /* a test may have put another socket where a line is said */
		alarm(20);
		body(argument);
		_exit(0);
	}
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s (wait status %x)", scene->failure, status);
}

/* ---- capture ---- */

static inline bool is_hidden(int fd)
{
	return fd >= HIDDEN_FROM;
}

static inline struct descriptor_table *open_table(void)
{
	int fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY);
	int infos = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY);
	CHECK(fds >= 0 && infos >= 0);
	int high_fds = fcntl(fds, F_DUPFD_CLOEXEC, HIDDEN_FROM);
	int high_infos = fcntl(infos, F_DUPFD_CLOEXEC, HIDDEN_FROM);
	close(fds);
	close(infos);
	struct descriptor_table *table = rt_descriptors_open(high_fds, high_infos, is_hidden);
	CHECK(table != NULL);
	return table;
}

/* The open numbers below HIDDEN_FROM as a bitmap. */
static inline void list_open(uint8_t open_numbers[HIDDEN_FROM])
{
	for (int fd = 0; fd < HIDDEN_FROM; fd++)
		open_numbers[fd] = fcntl(fd, F_GETFD) >= 0;
}

/* Restore wants to know the process that /proc/PID was. */
static inline void begin_manifest(struct manifest_writer *writer)
{
	struct manifest_process process = {.pid = getpid()};
	rt_manifest_reset(writer);
	rt_manifest_add(writer, MANIFEST_PROCESS, &process, sizeof(process));
}

static inline void keep_manifest(const struct manifest_writer *writer)
{
	CHECK(!writer->failed && writer->length <= STORE_SIZE);
	memcpy(scene->manifest, writer->bytes, writer->length);
	scene->length = writer->length;
}

static inline void capture_now(struct descriptor_table *table)
{
	static struct manifest_writer writer;
	uint8_t before[HIDDEN_FROM], after[HIDDEN_FROM];
	list_open(before);
	CHECK(rt_descriptors_prepare(table) == 0);
	begin_manifest(&writer);
	CHECK(rt_descriptors_capture(table, &writer) == 0);
	size_t first = writer.length;
	rt_descriptors_report(table);
	/* Again: nothing may depend on being the first capture. */
	begin_manifest(&writer);
	CHECK(rt_descriptors_capture(table, &writer) == 0);
	CHECK(writer.length == first);
	list_open(after);
	CHECK(memcmp(before, after, sizeof(before)) == 0);
	keep_manifest(&writer);
}

/* ---- restore ---- */

static inline void restore_now(void)
{
	scene->restored = restore_descriptors(scene->manifest, scene->length, HIDDEN_FROM, scene->problem,
					      sizeof(scene->problem));
}

struct pair_of_functions {
	void (*prepare)(void);
	void (*verify)(void);
};

static inline void run_program(void *argument)
{
	const struct pair_of_functions *functions = argument;
	close_range(3, ~0U, 0);
	functions->prepare();
	capture_now(open_table());
	if (functions->verify)
		functions->verify();
}

static inline void run_restored(void *argument)
{
	const struct pair_of_functions *functions = argument;
	restore_now();
	CHECK(scene->restored == 0);
	if (functions->verify)
		functions->verify();
}

/* In one process, whose memory thus is that of the program, as a restore would make it. */
static inline void run_second_capture(void *argument)
{
	const struct pair_of_functions *functions = argument;
	close_range(3, ~0U, 0);
	functions->prepare();
	capture_now(open_table());
	close_range(3, ~0U, 0);
	restore_now();
	CHECK(scene->restored == 0);
	capture_now(open_table());
}

static inline void capture_second_generation(void (*prepare)(void))
{
	struct pair_of_functions functions = {prepare, NULL};
	in_process(run_second_capture, &functions);
}

static inline void capture_in_process(void (*prepare)(void), void (*verify)(void))
{
	struct pair_of_functions functions = {prepare, verify};
	in_process(run_program, &functions);
}

static inline void restore_in_process(void (*verify)(void))
{
	struct pair_of_functions functions = {NULL, verify};
	in_process(run_restored, &functions);
}

/* `verify` must find the same in the program itself, restored, and restored a second time. */
static inline void check_kept(void (*prepare)(void), void (*verify)(void))
{
	capture_in_process(prepare, verify);
	restore_in_process(verify);
	capture_second_generation(prepare);
	restore_in_process(verify);
}

/* As check_kept(), for what the program itself has and a restored process has not. */
static inline void check_changed(void (*prepare)(void), void (*verify)(void))
{
	capture_in_process(prepare, NULL);
	restore_in_process(verify);
	capture_second_generation(prepare);
	restore_in_process(verify);
}

static inline void restore_refused(void *argument)
{
	(void)argument;
	restore_now();
	CHECK(scene->restored == -1);
}

/* The restore is refused with a line that has `text` in it. */
static inline void check_refused(const char *text)
{
	in_process(restore_refused, NULL);
	cr_assert(strstr(scene->problem, text) != NULL, "\"%s\" not in \"%s\"", text, scene->problem);
}

/* Puts `fd` at `number`. */
static inline void put_at(int fd, int number)
{
	CHECK(fd >= 0);
	if (fd == number)
		return;
	CHECK(dup3(fd, number, fcntl(fd, F_GETFD) & FD_CLOEXEC ? O_CLOEXEC : 0) == number);
	close(fd);
}

static inline void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	CHECK(file != NULL);
	fputs(text, file);
	fclose(file);
}

static inline bool file_is(const char *path, const char *text)
{
	char contents[4096] = {0};
	FILE *file = fopen(path, "r");
	if (file == NULL)
		return false;
	size_t length = fread(contents, 1, sizeof(contents) - 1, file);
	fclose(file);
	return length == strlen(text) && memcmp(contents, text, length) == 0;
}

static inline bool reads(int fd, const char *text)
{
	char contents[4096] = {0};
	ssize_t length = read(fd, contents, sizeof(contents) - 1);
	return length == (ssize_t)strlen(text) && memcmp(contents, text, (size_t)length) == 0;
}

#endif
