/*
 * Damages a real store in many ways, and looks at what the commands make of it:
 * damage_runner [--damages N] [--seed S] [--user UID] [--name NAME].
 *
 * Two stores of a small program that was killed, and an older copy of the first, are made once. Each round takes a
 * fresh copy of the first, does something to it that the seed and the round decide, and runs `respct stat`, `respct inspect`
 * and `respct-restore` on it. Each must end within PATIENCE, by no signal: with 125 and one line on stderr, or with 0. A
 * restore that goes on must end as the program would have, with all its output: what was damaged was not in use.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/report.h"

#define SECOND_NS 1000000000LL
#define PATIENCE_NS (20 * SECOND_NS) /* longer is a hang */
#define START_NS (60 * SECOND_NS)
#define PAGE 4096
#define REFUSED 125

static struct {
	int damages;
	uint64_t seed;
	const char *name;
	long user;
} options = {40, 1, "damage", -1};

static const struct option long_options[] = {
	{"damages", required_argument, NULL, 'd'},
	{"seed", required_argument, NULL, 's'},
	{"user", required_argument, NULL, 'u'},
	{"name", required_argument, NULL, 'm'},
	{NULL, 0, NULL, 0},
};

static char *work, *store, *first, *older, *second;
static char what[512]; /* was done in this round */
static uint64_t random_state;
static int refusals, restores;

static void parse_options(int count, char **arguments)
{
	int option;

	while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'd': options.damages = atoi(optarg); break;
		case 's': options.seed = strtoull(optarg, NULL, 10); break;
		case 'u': options.user = atol(optarg); break;
		case 'm': options.name = optarg; break;
		default: refuse("usage: damage_runner [options], see damage_runner.c");
		}
	}
}

static char *in_work(const char *name)
{
	return format_text("%s/%s", work, name);
}

static void clean_up(void)
{
	children_kill();
	remove_tree(work);
}

static void give_to_user(const char *path)
{
	if (options.user >= 0 && lchown(path, (uid_t)options.user, (gid_t)options.user) < 0)
		refuse("%s: %s", path, strerror(errno));
}

static void make_places(void)
{
	work = format_text("%s/respct-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/var/tmp");
	if (mkdtemp(work) == NULL)
		refuse("%s: %s", work, strerror(errno));
	atexit(clean_up);
	give_to_user(work);
	store = in_work("store");
	first = in_work("first");
	older = in_work("older");
	second = in_work("second");
}

static void __attribute__((noreturn)) fail(const char *reason)
{
	char *directory = harness_failed_directory(options.name);

	children_kill();
	remove_tree(directory);
	copy_tree(work, directory);
	printf("FAILED %s: %s: %s; --seed %lu, see %s\n", options.name, what, reason, (unsigned long)options.seed,
	       directory);
	exit(1);
}

/* ---- processes ---- */

static int open_output(const char *name, int flags)
{
	char *path = in_work(name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);

	if (fd < 0)
		fail(strerror(errno));
	give_to_user(path);
	return fd;
}

static pid_t start(char *const *command, int output)
{
	int error = open_output("errors", O_TRUNC);
	struct launch launch = {command, work, -1, output, error, options.user, NULL};
	pid_t child = child_start(&launch);

	close(error);
	return child;
}

static void put_contents(const char *name, const char *text)
{
	int fd = open_output(name, O_TRUNC);

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail(strerror(errno));
	close(fd);
}

static void get_contents(const char *name, char *text, size_t size)
{
	int fd = open_output(name, 0);
	ssize_t length = pread(fd, text, size - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	close(fd);
}

/* Lets the program, or its restore, run to its first checkpoint beyond `epoch`, and kills it. */
static void run_and_kill(char *const *command, const char *directory, uint64_t epoch)
{
	int output = open_output("output", 0), status;
	pid_t child = start(command, output);
	int64_t deadline = now_ns() + START_NS;
	struct store_view view = {0};

	close(output);
	while ((!harness_store_view(directory, options.user, &view) || view.epoch <= epoch ||
		store_process(directory) == 0) &&
	       now_ns() < deadline)
		usleep(20000);
	if (view.epoch <= epoch)
		fail("no checkpoint");
	kill(store_process(directory), SIGKILL);
	child_wait(child, deadline, -1, NULL, &status);
	children_kill();
}

static void make_store(const char *directory)
{
	char *run[] = {harness_build_path("respct"),
		       "run",
		       "--quiet",
		       "--store",
		       (char *)directory,
		       "--",
		       harness_build_path("tests/helpers/waiter"),
		       NULL};

	put_contents("output", "");
	run_and_kill(run, directory, 2);
}

static void make_stores(void)
{
	char *restore[] = {harness_build_path("respct-restore"), store, NULL};
	struct store_view view;

	snprintf(what, sizeof(what), "making the stores");
	make_store(second);
	make_store(store);
	copy_tree(store, older);
	if (!harness_store_view(store, options.user, &view))
		fail("the store cannot be read");
	run_and_kill(restore, store, view.epoch + 2);
	copy_tree(store, first);
}

/* ---- damages ---- */

static uint64_t below(uint64_t limit)
{
	return limit == 0 ? 0 : random_next(&random_state) % limit;
}

static const char *const files[] = {"super", "super", "super", "log",   "log", "log",  "home",       "home", "home",
				    "index", "index", "undo0", "undo1", "pid", "lock", "statistics", "crash"};

#define FILES (sizeof(files) / sizeof(files[0]))

struct damage {
	const char *file;
	char *path;
	int fd;
	off_t size, at; /* at: some place that is not a hole, where there is one */
};

static void note(const char *format, const char *file, long a, long b)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(what, sizeof(what), format, file, a, b);
#pragma GCC diagnostic pop
}

static void put(const struct damage *damage, const void *bytes, size_t length, off_t at)
{
	if (pwrite(damage->fd, bytes, length, at) != (ssize_t)length)
		fail(strerror(errno));
}

static void flip_bit(struct damage *damage)
{
	unsigned char byte = 0;

	if (pread(damage->fd, &byte, 1, damage->at) != 1)
		return;
	unsigned bit = (unsigned)below(8);
	byte ^= (unsigned char)(1U << bit);
	put(damage, &byte, 1, damage->at);
	note("%s: bit %ld of byte %ld flipped", damage->file, (long)bit, (long)damage->at);
}

static void write_word(struct damage *damage)
{
	static const uint64_t words[] = {0, 1, ~0UL, 1UL << 63, 1UL << 32, 0x7fffffffffffffff, 0x01020304, 4096};
	off_t at = damage->at & ~7L;

	put(damage, &words[below(8)], 8, at);
	note("%s: another word at byte %ld", damage->file, (long)at, 0);
}

static void zero_page(struct damage *damage)
{
	static const char zeros[PAGE];
	off_t at = damage->at & ~(off_t)(PAGE - 1);

	put(damage, zeros, damage->size - at < PAGE ? (size_t)(damage->size - at) : PAGE, at);
	note("%s: the page at byte %ld zeroed", damage->file, (long)at, 0);
}

static void copy_page(struct damage *damage)
{
	char page[PAGE];
	off_t from = (off_t)below((uint64_t)damage->size) & ~(off_t)(PAGE - 1), to = damage->at & ~(off_t)(PAGE - 1);
	ssize_t got = pread(damage->fd, page, sizeof(page), from);

	if (got > 0)
		put(damage, page, (size_t)got, to);
	note("%s: the page at byte %ld copied to byte %ld", damage->file, (long)from, (long)to);
}

static void truncate_file(struct damage *damage)
{
	static const off_t around[] = {-1, 0, 1};
	off_t length = below(2) ? damage->at : (damage->at & ~(off_t)(PAGE - 1)) + around[below(3)];

	if (length < 0 || ftruncate(damage->fd, length) < 0)
		length = 0;
	note("%s: cut to %ld bytes", damage->file, (long)length, 0);
}

static void lengthen_file(struct damage *damage)
{
	off_t length = damage->size + (off_t)below(1UL << 40);

	if (ftruncate(damage->fd, length) < 0)
		return;
	note("%s: %ld bytes long", damage->file, (long)length, 0);
}

static void replace(struct damage *damage, const char *from, const char *text)
{
	char *source = format_text("%s/%s", from, damage->file);

	copy_tree(source, damage->path);
	note(text, damage->file, 0, 0);
}

static void take_older(struct damage *damage)
{
	unlink(damage->path);
	replace(damage, older, "%s: an older copy");
}

static void take_foreign(struct damage *damage)
{
	unlink(damage->path);
	replace(damage, second, "%s: that of another store");
}

static void remove_file(struct damage *damage)
{
	unlink(damage->path);
	note("%s: removed", damage->file, 0, 0);
}

static void make_fifo(struct damage *damage)
{
	unlink(damage->path);
	if (mkfifo(damage->path, 0600) < 0)
		fail(strerror(errno));
	give_to_user(damage->path);
	note("%s: a fifo", damage->file, 0, 0);
}

static void make_directory(struct damage *damage)
{
	unlink(damage->path);
	if (mkdir(damage->path, 0700) < 0)
		fail(strerror(errno));
	give_to_user(damage->path);
	note("%s: a directory", damage->file, 0, 0);
}

static void make_link(struct damage *damage)
{
	char *target = format_text("%s/%s", first, damage->file);

	unlink(damage->path);
	if (symlink(target, damage->path) < 0)
		fail(strerror(errno));
	give_to_user(damage->path);
	note("%s: a symbolic link", damage->file, 0, 0);
}

static void make_hard_link(struct damage *damage)
{
	char *other = in_work("other-name");

	unlink(other);
	if (link(damage->path, other) < 0)
		fail(strerror(errno));
	note("%s: has a second name", damage->file, 0, 0);
}

static void open_to_others(struct damage *damage)
{
	if (chmod(damage->path, 0666) < 0)
		fail(strerror(errno));
	note("%s: may be written by others", damage->file, 0, 0);
}

/* The superblock as another machine, or another version, would have written it. */
static void make_foreign(struct damage *damage)
{
	uint32_t words[4];
	bool version = below(2);

	if (pread(damage->fd, words, sizeof(words), 0) != sizeof(words))
		return;
	for (int i = 2; i < 4; i++)
		words[i] = version ? words[i] + 1 : __builtin_bswap32(words[i]);
	put(damage, words, sizeof(words), 0);
	note(version ? "%s: of another version" : "%s: of another byte order", damage->file, 0, 0);
}

static void (*const damages[])(struct damage *damage) = {
	flip_bit,       flip_bit,   flip_bit,       flip_bit,       write_word,    write_word,
	zero_page,      zero_page,  copy_page,      truncate_file,  truncate_file, lengthen_file,
	take_older,     take_older, take_foreign,   take_foreign,   remove_file,   make_fifo,
	make_directory, make_link,  make_hard_link, open_to_others, make_foreign,
};

#define DAMAGES (sizeof(damages) / sizeof(damages[0]))

/* Damages the copy of round `number`: every file and every way comes up when there are rounds enough. */
static void do_damage(int number)
{
	struct damage damage = {.file = files[(unsigned)number % FILES]};

	damage.path = format_text("%s/%s", store, damage.file);
	damage.fd = open(damage.path, O_RDWR | O_CLOEXEC);
	if (damage.fd < 0)
		return;
	damage.size = lseek(damage.fd, 0, SEEK_END);
	damage.at = lseek(damage.fd, (off_t)below((uint64_t)damage.size), SEEK_DATA);
	if (damage.at < 0)
		damage.at = (off_t)below((uint64_t)damage.size);
	note("%s: as it was (%ld bytes)", damage.file, (long)damage.size, 0);
	damages[below(DAMAGES)](&damage);
	close(damage.fd);
}

/* ---- what the commands make of it ---- */

/* Runs it; its exit status, which must be one of a command. */
static int run(char *const *command, int output)
{
	pid_t child = start(command, output);
	char errors[4096], reason[256];
	int status;

	if (!child_wait(child, now_ns() + PATIENCE_NS, -1, NULL, &status))
		fail(format_text("%s hangs", command[0]));
	get_contents("errors", errors, sizeof(errors));
	const char *end = strchr(errors, '\n');
	snprintf(reason, sizeof(reason), "%s ended by %s", strrchr(command[0], '/') + 1, status_text(status));
	if (!WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != REFUSED))
		fail(reason);
	if (WEXITSTATUS(status) == REFUSED && (end == NULL || end[1] != '\0'))
		fail(format_text("%s, and on stderr is: \"%s\"", reason, errors));
	if (strstr(errors, "Sanitizer") != NULL || strstr(errors, "runtime error") != NULL)
		fail("a sanitizer has found something");
	return WEXITSTATUS(status);
}

static void look(const char *subcommand)
{
	char *command[] = {harness_build_path("respct"), (char *)subcommand, store, NULL};
	int output = open_output("shown", O_TRUNC);

	run(command, output);
	close(output);
}

static void restore(void)
{
	char *command[] = {harness_build_path("respct-restore"), store, NULL};
	char text[256];
	int output = open_output("restored-output", O_TRUNC);

	/* As it was when the program was killed: the same file, as that is what it had open. */
	put_contents("output", "waiting\n");
	put_contents("go", "");
	int status = run(command, output);
	close(output);
	get_contents("output", text, sizeof(text));
	if (status == 0 && strcmp(text, "waiting\ndone\n") != 0)
		fail(format_text("restored, and the output is \"%s\"", text));
	if (status != 0 && strcmp(text, "waiting\n") != 0)
		fail(format_text("refused, and the output is \"%s\"", text));
	refusals += status != 0;
	restores += status == 0;
	unlink(in_work("go"));
}

static void try_damage(int number)
{
	random_state = options.seed * 1000003 + (uint64_t)number;
	remove_tree(store);
	copy_tree(first, store);
	if (number > 0)
		do_damage(number);
	else
		snprintf(what, sizeof(what), "not damaged");
	look("stat");
	look("inspect");
	restore();
	if (number == 0 && restores != 1)
		fail("refused");
	children_kill();
}

int main(int count, char **arguments)
{
	int64_t started = now_ns();

	harness_begin();
	parse_options(count, arguments);
	make_places();
	make_stores();
	for (int number = 0; number <= options.damages; number++)
		try_damage(number);
	printf("ok %s (seed %lu, %d damages, %d refused, %d restored, %.1f s)\n", options.name,
	       (unsigned long)options.seed, options.damages, refusals, restores - 1,
	       (double)(now_ns() - started) / SECOND_NS);
	return 0;
}
