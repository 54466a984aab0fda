/*
 * The distribution's memcached, killed under load and restored, again and again.
 *
 *   memcached [--rounds N] [--keys N] [--seed S] [--verify] [--user UID] [--min-ms A --max-ms B]
 *             [--name NAME]
 *
 * Starts memcached under `respct run`, sets all keys, then N times (50): sets random keys from
 * several connections, kills memcached at a random instant meanwhile, restores it and checks every
 * key against what was acknowledged before the restored checkpoint (see memcached_load.c). At the
 * end it is stopped with SIGTERM and must exit as it does by itself. As root, memcached is told to
 * become `nobody`. The last line on stdout is "ok NAME (...)" or "FAILED NAME: why"; exit status 0 or 1.
 */
#include "harness.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/report.h"

#define MILLISECOND 1000000LL
#define TIMEOUT_NS (120 * 1000 * MILLISECOND)
#define EXIT_SKIPPED 77

static struct {
	int rounds, keys, minimum_ms, maximum_ms;
	uint64_t seed;
	bool verify;
	long user;
	const char *name;
} options = {50, 200000, 50, 600, 0, false, -1, "memcached"};

static char *work, *store, *load_directory, *port;
static FILE *log_file;
static int error_pipe[2];
static uint64_t random_state;
static int rounds_done;
static int64_t begin_ns, oldest_state_ns, longest_restore_ns;

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void note(const char *format, ...)
{
	va_list arguments;

	child_drain(error_pipe[0], log_file);
	va_start(arguments, format);
	harness_log(log_file, begin_ns, format, arguments);
	va_end(arguments);
}

static void clean_up(void)
{
	children_kill();
	remove_tree(store);
	remove_tree(work);
}

static void fail(const char *format, ...)
{
	char reason[512], *directory = harness_failed_directory(options.name);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	note("FAILED: %s", reason);
	children_report_threads(log_file);
	children_kill();
	child_drain(error_pipe[0], log_file);
	remove_tree(directory);
	copy_tree(work, directory);
	copy_tree(store, directory);
	printf("FAILED %s: %s; after %d kills, --seed %llu, see %s/log\n", options.name, reason, rounds_done,
	       (unsigned long long)options.seed, directory);
	exit(1);
}

/* ---- options and places ---- */

static const struct option long_options[] = {
	{"rounds", required_argument, NULL, 'r'},
	{"keys", required_argument, NULL, 'k'},
	{"seed", required_argument, NULL, 's'},
	{"verify", no_argument, NULL, 'v'},
	{"user", required_argument, NULL, 'u'},
	{"min-ms", required_argument, NULL, 'a'},
	{"max-ms", required_argument, NULL, 'b'},
	{"name", required_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

static void take_option(int option)
{
	switch (option) {
	case 'r': options.rounds = atoi(optarg); break;
	case 'k': options.keys = atoi(optarg); break;
	case 's': options.seed = strtoull(optarg, NULL, 0); break;
	case 'v': options.verify = true; break;
	case 'u': options.user = atol(optarg); break;
	case 'a': options.minimum_ms = atoi(optarg); break;
	case 'b': options.maximum_ms = atoi(optarg); break;
	case 'n': options.name = optarg; break;
	default: refuse("usage: memcached [options], see memcached.c");
	}
}

static void parse_options(int count, char **arguments)
{
	int option;

	options.seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1)
		take_option(option);
	random_state = options.seed;
}

static void make_places(void)
{
	const char *base = getenv("TMPDIR");

	work = format_text("%s/respct-test-XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(work))
		refuse("%s: %s", work, strerror(errno));
	harness_give(work, options.user);
	store = access("/dev/shm", W_OK) ? format_text("%s/store", work)
					 : format_text("/dev/shm/%s-store", strrchr(work, '/') + 1);
	load_directory = format_text("%s/load", work);
	if (mkdir(load_directory, 0700))
		refuse("%s: %s", load_directory, strerror(errno));
	log_file = fopen(format_text("%s/log", work), "we");
	if (!log_file || pipe2(error_pipe, O_CLOEXEC))
		refuse("%s/log: %s", work, strerror(errno));
	atexit(clean_up);
}

/* ---- the server ---- */

static bool port_is_free(int number)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool free_port;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	free_port = fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return free_port;
}

/* Below the range the kernel hands out, so that nobody else gets it between two lives. */
static void choose_port(void)
{
	int number;

	do {
		number = 10000 + (int)(random_next(&random_state) % 20000);
	} while (!port_is_free(number));
	port = format_text("%d", number);
}

static pid_t start(char *const *arguments)
{
	char *environment[] = {"RESPCT_VERIFY=1", NULL};
	struct launch launch = {
		arguments, work, -1, error_pipe[1], error_pipe[1], options.user, options.verify ? environment : NULL};

	return child_start(&launch);
}

static pid_t start_server(void)
{
	char *arguments[5 + MEMCACHED_ARGUMENTS] = {harness_build_path("respct"), "run", "--store", store, "--"};

	harness_memcached(arguments + 5, port, options.user);
	return start(arguments);
}

static pid_t start_restored_server(void)
{
	char *arguments[] = {harness_build_path("respct-restore"), store, NULL};

	return start(arguments);
}

static bool server_answers(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {10, 0};
	bool answers;
	char byte;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	answers = !connect(fd, (struct sockaddr *)&address, sizeof(address)) &&
		  send(fd, "version\r\n", 9, MSG_NOSIGNAL) == 9 && recv(fd, &byte, 1, 0) == 1 && byte == 'V';
	close(fd);
	return answers;
}

static void wait_for_server(pid_t server)
{
	int64_t deadline = now_ns() + TIMEOUT_NS;
	int status;

	while (!server_answers()) {
		if (child_wait(server, now_ns() + 2 * MILLISECOND, error_pipe[0], log_file, &status))
			fail("memcached ended: %s", status_text(status));
		if (now_ns() > deadline)
			fail("memcached does not answer");
	}
}

static struct store_view view_store(void)
{
	struct store_view view;

	if (!harness_store_view(store, options.user, &view))
		fail("the store cannot be read");
	return view;
}

static void wait_for_progress(pid_t server, uint64_t epoch_before)
{
	int64_t deadline = now_ns() + TIMEOUT_NS;
	int status;

	while (view_store().epoch <= epoch_before) {
		if (child_wait(server, now_ns() + 5 * MILLISECOND, error_pipe[0], log_file, &status))
			fail("memcached ended: %s", status_text(status));
		if (now_ns() > deadline)
			fail("hung: no new checkpoint");
	}
}

static int64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- the load ---- */

static pid_t start_load(char *command, char *argument)
{
	char *arguments[] = {harness_build_path("tests/memcached_load"), command, port, load_directory, argument, NULL};
	struct launch launch = {arguments, work, -1, error_pipe[1], error_pipe[1], -1, NULL};

	return child_start(&launch);
}

static void finish_load(pid_t load, const char *what)
{
	int status;

	if (!child_wait(load, now_ns() + TIMEOUT_NS, error_pipe[0], log_file, &status))
		fail("hung: memcached_load %s", what);
	if (status)
		fail("memcached_load %s: %s", what, status_text(status));
}

/* ---- a round ---- */

static int64_t random_ns(void)
{
	int64_t span = (options.maximum_ms - options.minimum_ms) * MILLISECOND;

	return options.minimum_ms * MILLISECOND + (int64_t)(random_next(&random_state) % (uint64_t)span);
}

/* Kills the server under load, returns the state of the store it left. */
static struct store_view kill_under_load(pid_t server, uint64_t epoch_before)
{
	pid_t load = start_load("update", NULL), pid;
	struct store_view view;
	int64_t killed_ns;
	int status;

	if (child_wait(server, now_ns() + random_ns(), error_pipe[0], log_file, &status))
		fail("memcached ended: %s", status_text(status));
	wait_for_progress(server, epoch_before);
	pid = store_process(store);
	if (!pid)
		fail("the store's pid file does not name a live process");
	killed_ns = realtime_ns();
	kill(pid, SIGKILL);
	if (!child_wait(server, now_ns() + TIMEOUT_NS, error_pipe[0], log_file, &status))
		fail("hung: ending after SIGKILL");
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail("after SIGKILL: %s", status_text(status));
	finish_load(load, "update");
	view = view_store();
	if (killed_ns - view.commit_time_ns > oldest_state_ns)
		oldest_state_ns = killed_ns - view.commit_time_ns;
	note("kill %d, epoch %llu, %.1f ms old", ++rounds_done, (unsigned long long)view.epoch,
	     (double)(killed_ns - view.commit_time_ns) / 1e6);
	return view;
}

static pid_t restore(void)
{
	int64_t started = now_ns();
	pid_t server = start_restored_server();

	wait_for_server(server);
	if (now_ns() - started > longest_restore_ns)
		longest_restore_ns = now_ns() - started;
	note("restored, answers after %.1f ms", (double)(now_ns() - started) / 1e6);
	return server;
}

static pid_t run_round(pid_t server, uint64_t *epoch)
{
	struct store_view view = kill_under_load(server, *epoch);

	server = restore();
	finish_load(start_load("check", format_text("%lld", (long long)view.commit_time_ns)), "check");
	*epoch = view.epoch;
	return server;
}

static void stop_server(pid_t server)
{
	pid_t pid = store_process(store);
	int status;

	if (!pid)
		fail("the store's pid file does not name a live process");
	kill(pid, SIGTERM);
	if (!child_wait(server, now_ns() + TIMEOUT_NS, error_pipe[0], log_file, &status))
		fail("hung: ending after SIGTERM");
	if (status)
		fail("after SIGTERM: %s", status_text(status));
}

int main(int count, char **arguments)
{
	uint64_t epoch = 0;
	pid_t server;

	begin_ns = now_ns();
	harness_begin();
	parse_options(count, arguments);
	if (access("/usr/bin/memcached", X_OK)) {
		printf("skipped %s: memcached is not installed\n", options.name);
		return EXIT_SKIPPED;
	}
	make_places();
	choose_port();
	note("seed %llu, port %s", (unsigned long long)options.seed, port);
	server = start_server();
	wait_for_server(server);
	finish_load(start_load("fill", format_text("%d", options.keys)), "fill");
	while (rounds_done < options.rounds)
		server = run_round(server, &epoch);
	stop_server(server);
	printf("ok %s (%d kills, %d keys, oldest state %.0f ms, longest restore %.0f ms, %.1f s)\n", options.name,
	       rounds_done, options.keys, (double)oldest_state_ns / 1e6, (double)longest_restore_ns / 1e6,
	       (double)(now_ns() - begin_ns) / 1e9);
	return 0;
}
