/*
 * What prctl() and its like have set stays: no_new_privs, subreaper, death signal, timer slack, huge
 * pages off, I/O priority, oom_score_adj. As root, like a daemon that gives up its privileges but one
 * capability: users, groups, capability sets stay what they are, and no thread of the process keeps more.
 */
#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "victim.h"

#define USER 33
#define KEPT (1U << CAP_NET_BIND_SERVICE)
#define SLACK 123456
#define IO_PRIORITY (2 << 13 | 6) /* best effort, level 6 */

static const gid_t groups[] = {5, 60};
static bool root;

struct capabilities {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct sets[2];
};

static struct capabilities get_capabilities(void)
{
	struct capabilities got = {.header = {_LINUX_CAPABILITY_VERSION_3, 0}};
	CHECK_EQUAL(syscall(SYS_capget, &got.header, got.sets), 0);
	return got;
}

static void keep_one_capability(void)
{
	struct capabilities wanted = {.header = {_LINUX_CAPABILITY_VERSION_3, 0}};
	wanted.sets[0].permitted = wanted.sets[0].effective = wanted.sets[0].inheritable = KEPT;
	CHECK_EQUAL(syscall(SYS_capset, &wanted.header, wanted.sets), 0);
	CHECK_EQUAL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0), 0);
}

static void become_daemon(void)
{
	CHECK_EQUAL(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), 0);
	CHECK_EQUAL(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0), 0);
	CHECK_EQUAL(setgroups(2, groups), 0);
	CHECK_EQUAL(setgid(USER), 0);
	CHECK_EQUAL(setuid(USER), 0);
	keep_one_capability();
}

static void check_daemon(void)
{
	uid_t users[3];
	gid_t got[8];
	struct capabilities has = get_capabilities();
	CHECK_EQUAL(getresuid(&users[0], &users[1], &users[2]), 0);
	CHECK(users[0] == USER && users[1] == USER && users[2] == USER);
	CHECK_EQUAL(getresgid(&got[0], &got[1], &got[2]), 0);
	CHECK(got[0] == USER && got[1] == USER && got[2] == USER);
	CHECK_EQUAL(getgroups(8, got), 2);
	CHECK(got[0] == groups[0] && got[1] == groups[1]);
	CHECK_EQUAL(has.sets[0].effective, KEPT);
	CHECK_EQUAL(has.sets[0].permitted, KEPT);
	CHECK_EQUAL(has.sets[0].inheritable, KEPT);
	CHECK_EQUAL(has.sets[1].permitted, 0);
	CHECK_EQUAL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0), 1);
	CHECK_EQUAL(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT, 0, 0, 0), 0);
	CHECK_EQUAL(prctl(PR_CAPBSET_READ, CAP_KILL, 0, 0, 0), 1);
}

/* How many threads the kernel shows with another user than ours. */
static int threads_of_others(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int others = 0;
	CHECK(tasks != NULL);
	for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
		char path[320], line[256];
		unsigned user;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
		FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
		while (file != NULL && fgets(line, sizeof(line), file) != NULL)
			if (sscanf(line, "Uid: %u", &user) == 1)
				others += user != getuid();
		if (file != NULL)
			fclose(file);
	}
	closedir(tasks);
	return others;
}

/* The runtime's own follows at its next checkpoint. */
static void check_threads(void)
{
	int64_t deadline = now_ns() + 60 * SECOND;
	while (threads_of_others() > 0) {
		CHECK(now_ns() < deadline);
		usleep(1000);
	}
}

static int oom_score_adjustment(void)
{
	int value = -1;
	FILE *file = fopen("/proc/self/oom_score_adj", "r");
	CHECK(file != NULL);
	CHECK_EQUAL(fscanf(file, "%d", &value), 1);
	fclose(file);
	return value;
}

static void set_settings(void)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "w");
	if (file != NULL) {
		fprintf(file, "765");
		fclose(file);
	}
	CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	CHECK_EQUAL(prctl(PR_SET_TIMERSLACK, SLACK, 0, 0, 0), 0);
	CHECK_EQUAL(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	CHECK_EQUAL(syscall(SYS_ioprio_set, 1, 0, IO_PRIORITY), 0);
}

static void check_settings(void)
{
	int signal_number = 0, subreaper = 0;
	CHECK_EQUAL(oom_score_adjustment(), 765);
	CHECK_EQUAL(prctl(PR_GET_CHILD_SUBREAPER, &subreaper, 0, 0, 0), 0);
	CHECK_EQUAL(subreaper, 1);
	CHECK_EQUAL(prctl(PR_GET_PDEATHSIG, &signal_number, 0, 0, 0), 0);
	CHECK_EQUAL(signal_number, SIGURG);
	CHECK_EQUAL(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), SLACK);
	CHECK_EQUAL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	CHECK_EQUAL(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
	CHECK_EQUAL(syscall(SYS_ioprio_get, 1, 0), IO_PRIORITY);
}

static long rounds;

static void *work_in_thread(void *unused)
{
	for (long i = 0; i < rounds; i++) {
		spin((uint64_t)i, 20000);
		if (root)
			check_daemon();
		CHECK_EQUAL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	}
	return unused;
}

int main(int argc, char **argv)
{
	root = geteuid() == 0;
	rounds = victim_work(argc, argv, 3900);
	set_settings();
	usleep(100000); /* a checkpoint with the privileges */
	if (root)
		become_daemon();
	CHECK_EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	CHECK_EQUAL(prctl(PR_SET_PDEATHSIG, SIGURG, 0, 0, 0), 0);
	CHECK_EQUAL(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
	pthread_t thread = start_thread(work_in_thread, NULL);
	for (long i = 0; i < rounds; i++) {
		spin((uint64_t)i, 20000);
		check_settings();
		if (root)
			check_daemon();
		if (i % 100 == 0)
			check_threads();
	}
	join_thread(thread);
	printf("credentials: %ld rounds\n", rounds);
	return 0;
}
