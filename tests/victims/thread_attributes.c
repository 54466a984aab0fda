/* What the kernel knows of each thread and of the process: names, ids, affinity, nice value, signal
 * mask, working directory, umask, limits, arguments, environment. None may change. */
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "victim.h"

#define THREADS 4

static pid_t process;
static char directory[4096];
static pid_t tids[THREADS];
static long rounds;

static pid_t own_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

/* One of the processors we may use, by number. */
static cpu_set_t one_processor(int wanted)
{
	cpu_set_t all, one;
	int i, found = 0, count;

	CHECK_EQUAL(sched_getaffinity(process, sizeof(all), &all), 0);
	count = CPU_COUNT(&all);
	CPU_ZERO(&one);
	for (i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all) && found++ == wanted % count)
			CPU_SET(i, &one);
	return one;
}

struct attributes {
	char name[16];
	cpu_set_t processors;
	sigset_t mask;
	int nice_value;
};

static void set_attributes(struct attributes *attributes, int self)
{
	snprintf(attributes->name, sizeof(attributes->name), "worker %d", self);
	CHECK_EQUAL(pthread_setname_np(pthread_self(), attributes->name), 0);
	attributes->processors = one_processor(self);
	CHECK_EQUAL(pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), &attributes->processors), 0);
	sigemptyset(&attributes->mask);
	sigaddset(&attributes->mask, SIGHUP + self);
	CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, &attributes->mask, NULL), 0);
	attributes->nice_value = getpriority(PRIO_PROCESS, 0) + self;
	CHECK_EQUAL(setpriority(PRIO_PROCESS, (id_t)own_tid(), attributes->nice_value), 0);
}

static void check_attributes(const struct attributes *attributes, int self)
{
	char name[16];
	cpu_set_t processors;
	sigset_t mask;
	int number;

	CHECK_EQUAL(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
	CHECK(!strcmp(name, attributes->name));
	CHECK_EQUAL(pthread_getaffinity_np(pthread_self(), sizeof(processors), &processors), 0);
	CHECK(CPU_EQUAL(&processors, &attributes->processors));
	CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	for (number = 1; number < SIGRTMIN; number++)
		CHECK_EQUAL(sigismember(&mask, number), sigismember(&attributes->mask, number));
	CHECK_EQUAL(getpriority(PRIO_PROCESS, (id_t)own_tid()), attributes->nice_value);
	CHECK_EQUAL(own_tid(), tids[self]);
	CHECK_EQUAL(syscall(SYS_tgkill, process, tids[self], 0), 0);
}

static void check_process(void)
{
	struct rlimit limit;
	char now[4096];
	mode_t mask;

	CHECK_EQUAL(getpid(), process);
	CHECK_EQUAL(syscall(SYS_getpid), process);
	CHECK(getcwd(now, sizeof(now)) && !strcmp(now, directory));
	CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK_EQUAL(limit.rlim_cur, 200);
	CHECK(!strcmp(getenv("VICTIM_VARIABLE"), "kept"));
	CHECK_EQUAL(getauxval(AT_PAGESZ), PAGE);
	mask = umask(027);
	CHECK_EQUAL(mask, 027);
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;
	struct attributes attributes;
	uint64_t value = 1;
	long i;

	tids[self] = own_tid();
	set_attributes(&attributes, self);
	for (i = 0; i < rounds; i++) {
		check_attributes(&attributes, self);
		if (self == 0)
			check_process();
		value = spin(value, 2000);
		if (i % 128 == 0)
			usleep(1000);
	}
	return (void *)(uintptr_t)value;
}

static void set_process(void)
{
	struct rlimit limit;

	process = getpid();
	CHECK_EQUAL(mkdir("below", 0700), 0);
	CHECK_EQUAL(chdir("below"), 0);
	CHECK(getcwd(directory, sizeof(directory)));
	CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 200;
	CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
	CHECK_EQUAL(setenv("VICTIM_VARIABLE", "kept", 1), 0);
	umask(027);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int i;

	rounds = victim_work(argc, argv, 17000);
	set_process();
	for (i = 0; i < THREADS; i++)
		threads[i] = start_thread(worker, (void *)(intptr_t)i);
	for (i = 0; i < THREADS; i++)
		printf("thread_attributes %d: %llx\n", i, (unsigned long long)(uintptr_t)join_thread(threads[i]));
	CHECK_EQUAL(own_tid(), process);
	CHECK_EQUAL(rmdir("../below"), 0);
	return 0;
}
