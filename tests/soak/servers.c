/* Servers and their clients, killed for as long as the episode lasts. */
#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/report.h"
#include "episode.h"
#include "outside.h"

#define KEYS "100000"

/* ---- processes ---- */

/* Copies a list into one that stays. */
static char *const *keep_arguments(char *const *from)
{
	static char *arguments[40];
	int i = 0;

	do {
		arguments[i] = from[i];
	} while (from[i++]);
	return arguments;
}

/* The port is below the range the kernel hands out, so that nobody else gets it between two lives. */
void choose_port(void)
{
	char *arguments[] = {harness_build_path("tests/memcached_load"), "port", NULL};
	struct launch launch = {arguments, NULL, -1, -1, -1, -1, NULL};
	char text[16];

	if (child_run_and_read(&launch, text, sizeof(text)))
		fail("no free port");
	text[strcspn(text, "\n")] = '\0';
	episode.port = format_text("%s", text);
}

/* Runs one command of memcached_load to its end. */
static void run_load(pid_t server, char *command, char *argument)
{
	bool wants_directory = strcmp(command, "wait") != 0;
	char *arguments[] = {harness_build_path("tests/memcached_load"),      command,  episode.port,
			     wants_directory ? episode.load_directory : NULL, argument, NULL};
	int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC), status;
	pid_t load = start(arguments, NULL, nothing, -1, false);
	int64_t deadline = watchdog();

	close(nothing);
	while (!child_wait(load, now_ns() + 50 * MILLISECOND, episode.error_pipe[0], episode.messages, &status)) {
		if (now_ns() > deadline)
			fail("hung: memcached_load %s", command);
		if (child_wait(server, 0, episode.error_pipe[0], episode.messages, &status))
			fail("the server ended: %s", status_text(status));
	}
	if (status)
		fail("memcached_load %s: %s", command, status_text(status));
}

static void start_client(void)
{
	char *memcached[] = {harness_build_path("tests/memcached_load"), "update", episode.port, episode.load_directory,
			     NULL};
	char *redis[] = {"python3",
			 harness_build_path("tests/programs/redis.py"),
			 episode.port,
			 episode.workload->kind == REDIS ? strchr(episode.workload->name, '_') + 1 : "",
			 format_text("%lld", (long long)((episode.deadline_ns - now_ns()) / SECOND)),
			 NULL};
	int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);

	episode.client = start(episode.workload->kind == REDIS ? redis : memcached, episode.program_directory, nothing,
			       episode.workload->kind == REDIS ? episode.user : -1, false);
	close(nothing);
}

static char *const *memcached_arguments(void)
{
	char *arguments[MEMCACHED_ARGUMENTS];

	harness_memcached(arguments, episode.port, episode.user);
	return keep_arguments(arguments);
}

#define REDIS_ARGUMENTS                                                                                      \
	"redis-server", "--bind", "127.0.0.1", "--port", episode.port, "--loglevel", "warning", "--logfile", \
		"server.log", "--save", ""

static char *const *redis_arguments(void)
{
	char *memory[] = {REDIS_ARGUMENTS, "--io-threads", "2", "--io-threads-do-reads", "yes", NULL};
	char *append[] = {REDIS_ARGUMENTS,
			  "--appendonly",
			  "yes",
			  "--appendfsync",
			  "everysec",
			  "--auto-aof-rewrite-percentage",
			  "0",
			  NULL};

	return keep_arguments(strcmp(episode.workload->name, "redis_append") == 0 ? append : memory);
}

/* ---- the lives ---- */

static void stop_server(pid_t server)
{
	pid_t pid;
	int status;

	pid = wait_for_progress(server, &status);
	if (!pid)
		fail("the server ended: %s", status_text(status));
	kill(pid, SIGTERM);
	if (!wait_until(server, watchdog(), &status))
		fail("hung: ending after SIGTERM");
	if (status)
		fail("after SIGTERM: %s", status_text(status));
}

void soak_memcached(void)
{
	pid_t server = start_first_life(memcached_arguments(), -1);
	int64_t commit_time_ns;
	int status;

	run_load(server, "wait", NULL);
	run_load(server, "fill", KEYS);
	while (now_ns() < episode.deadline_ns) {
		start_client();
		if (!live_until_killed(server, &status))
			fail("memcached ended: %s", status_text(status));
		look_at_client(watchdog());
		if (episode.client)
			fail("hung: memcached_load update");
		commit_time_ns = view_store().commit_time_ns;
		server = start_restored_life();
		run_load(server, "wait", NULL);
		run_load(server, "check", format_text("%lld", (long long)commit_time_ns));
		survived();
	}
	stop_server(server);
}

/* The client decides when it is over: it stops the server. */
void soak_redis(void)
{
	pid_t server = start_first_life(redis_arguments(), -1);
	int status;
	bool killed = true;

	start_client();
	while (killed && now_ns() < episode.deadline_ns) {
		killed = live_until_killed(server, &status);
		if (!killed)
			break;
		server = start_restored_life();
		survived();
	}
	if (killed && !wait_until(server, watchdog(), &status))
		fail("hung: the server does not end");
	if (status)
		fail("redis-server: %s", status_text(status));
	look_at_client(watchdog());
	if (episode.client)
		fail("hung: the client, after the server had ended");
}
