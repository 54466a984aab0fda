/* The monotonic clocks never go back, and waits with a point in time on them end, although the restore
 * finds them far behind, as after a restart of the machine: the program begins in a time namespace
 * that is hours ahead, and respct-restore knows nothing of that. */
#include <fcntl.h>
#include <sched.h>
#include <sys/timerfd.h>

#include "victim.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

#define MARK "VICTIM_IS_AHEAD"
#define AHEAD "monotonic 36000 0\nboottime 72000 0\n"
#define LONGEST (30 * SECOND)

static int64_t started;

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return written;
}

/* Needs a privilege; an ordinary user's case is command_line/clock_after_reboot, here it just goes on. */
static void get_ahead(char **argv)
{
	if (unshare(CLONE_NEWTIME) < 0)
		return;
	CHECK(write_file("/proc/self/timens_offsets", AHEAD));
	CHECK_EQUAL(setenv(MARK, "1", 1), 0);
	execv("/proc/self/exe", argv);
	exit(77);
}

static void check_clock(clockid_t clock, int64_t *last)
{
	int64_t now = clock_ns(clock);

	CHECK(now >= *last);
	*last = now;
}

static void wait_on_condition(pthread_mutex_t *mutex, pthread_cond_t *condition)
{
	struct timespec end = to_timespec(now_ns() + 2 * MILLISECOND);

	CHECK_EQUAL(pthread_mutex_lock(mutex), 0);
	CHECK_EQUAL(pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &end), ETIMEDOUT);
	CHECK_EQUAL(pthread_mutex_unlock(mutex), 0);
}

static void wait_on_timer(int timer)
{
	struct itimerspec soon = {.it_value = to_timespec(now_ns() + 2 * MILLISECOND)};
	uint64_t ticks;

	CHECK_EQUAL(timerfd_settime(timer, TFD_TIMER_ABSTIME, &soon, NULL), 0);
	CHECK_EQUAL(read(timer, &ticks, sizeof(ticks)), sizeof(ticks));
	CHECK(now_ns() >= (int64_t)soon.it_value.tv_sec * SECOND + soon.it_value.tv_nsec);
}

int main(int argc, char **argv)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
	long rounds = victim_work(argc, argv, 200), i;
	int64_t monotonic = 0, boottime = 0, raw = 0;
	int timer, j;

	if (getenv(MARK) == NULL)
		get_ahead(argv);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	CHECK(timer >= 0);
	for (i = 0; i < rounds; i++) {
		struct timespec end;

		started = clock_ns(CLOCK_REALTIME);
		for (j = 0; j < 1000; j++) {
			check_clock(CLOCK_MONOTONIC, &monotonic);
			check_clock(CLOCK_BOOTTIME, &boottime);
			check_clock(CLOCK_MONOTONIC_RAW, &raw);
		}
		wait_on_condition(&mutex, &condition);
		wait_on_timer(timer);
		end = to_timespec(now_ns() + 2 * MILLISECOND);
		CHECK_EQUAL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL), 0);
		CHECK(clock_ns(CLOCK_REALTIME) - started < LONGEST);
	}
	printf("clock_after_reboot: %ld\n", rounds);
	return 0;
}
