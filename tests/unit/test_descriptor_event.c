/* eventfd, timerfd, signalfd, inotify, epoll: runtime/descriptor/event.c and its restore. */
#include "descriptor_harness.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

TestSuite(descriptor_event, .init = open_scene, .fini = close_scene);

static bool is_ready(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};
	return poll(&entry, 1, 0) == 1 && (entry.revents & POLLIN);
}

/* ---- eventfd ---- */

static void open_eventfds(void)
{
	put_at(eventfd(7, EFD_NONBLOCK | EFD_CLOEXEC), 10);
	put_at(eventfd(3, EFD_SEMAPHORE), 11);
	put_at(eventfd(0, EFD_NONBLOCK), 12);
	CHECK(dup2(10, 13) == 13);
}

static void check_eventfds(void)
{
	uint64_t value;
	CHECK(fcntl(10, F_GETFD) == FD_CLOEXEC && fcntl(13, F_GETFD) == 0);
	CHECK(eventfd_read(13, &value) == 0 && value == 7);
	CHECK(eventfd_read(10, &value) == -1 && errno == EAGAIN);
	CHECK(!(fcntl(11, F_GETFL) & O_NONBLOCK));
	CHECK(eventfd_read(11, &value) == 0 && value == 1);
	CHECK(eventfd_read(12, &value) == -1 && errno == EAGAIN);
	CHECK(eventfd_write(12, 1) == 0 && eventfd_read(12, &value) == 0 && value == 1);
	CHECK(eventfd_read(10, &value) == -1); /* 12 is not 10 */
}

Test(descriptor_event, eventfds_keep_their_counts)
{
	check_kept(open_eventfds, check_eventfds);
}

/* ---- timerfd ---- */

static void arm(int fd, int flags, int64_t first_ms, int64_t interval_ms)
{
	struct itimerspec setting = {
		.it_value = {first_ms / 1000, first_ms % 1000 * 1000000},
		.it_interval = {interval_ms / 1000, interval_ms % 1000 * 1000000},
	};
	CHECK(timerfd_settime(fd, flags, &setting, NULL) == 0);
}

static int64_t left_ms(int fd, int64_t *interval_ms)
{
	struct itimerspec setting;
	CHECK(timerfd_gettime(fd, &setting) == 0);
	*interval_ms = setting.it_interval.tv_sec * 1000 + setting.it_interval.tv_nsec / 1000000;
	return setting.it_value.tv_sec * 1000 + setting.it_value.tv_nsec / 1000000;
}

static void open_timers(void)
{
	put_at(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), 10);
	arm(10, 0, 100000, 7000);
	put_at(timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), 11);
	arm(11, TFD_TIMER_ABSTIME, (time(NULL) + 200) * 1000, 0);
	put_at(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 12);
	arm(12, 0, 10, 0);
	put_at(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK), 13);
	put_at(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 14);
	arm(14, 0, 5, 100000);
	usleep(30000);
}

static void check_timers(void)
{
	int64_t interval, left = left_ms(10, &interval);
	uint64_t ticks;
	CHECK(left > 90000 && left <= 100000 && interval == 7000);
	CHECK(fcntl(10, F_GETFD) == FD_CLOEXEC && !(fcntl(10, F_GETFL) & O_NONBLOCK));
	left = left_ms(11, &interval);
	CHECK(left > 180000 && left <= 200000 && interval == 0 && !is_ready(11));
	CHECK(read(12, &ticks, 8) == 8 && ticks == 1 && left_ms(12, &interval) == 0);
	CHECK(read(13, &ticks, 8) == -1 && errno == EAGAIN && left_ms(13, &interval) == 0);
	CHECK(read(14, &ticks, 8) == 8 && ticks == 1 && left_ms(14, &interval) > 90000 && interval == 100000);
}

Test(descriptor_event, timers_keep_the_time_left)
{
	check_kept(open_timers, check_timers);
}

#define EXPIRIES 2000
#define ENOUGH_S 5 /* then fewer will do: a busy machine takes milliseconds to go from one thread to the other */

static int set_count, captured_count, last = EXPIRIES;

static void run_on(int processor)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Sets the timer to microseconds, as often as it has been captured. */
static void *set_timer(void *argument)
{
	run_on(0);
	for (int i = 1; i <= __atomic_load_n(&last, __ATOMIC_ACQUIRE); i++) {
		struct itimerspec setting = {.it_value.tv_nsec = 20000 + i % 40 * 1000};
		rt_descriptors_note_timer(10, true);
		CHECK(timerfd_settime(10, 0, &setting, NULL) == 0);
		__atomic_store_n(&set_count, i, __ATOMIC_RELEASE);
		while (__atomic_load_n(&captured_count, __ATOMIC_ACQUIRE) != i)
			usleep(10);
	}
	return argument;
}

static struct descriptor_timerfd captured_timer(const struct manifest_writer *writer)
{
	struct manifest_reader reader = {.bytes = writer->bytes, .length = writer->length};
	const void *payload;
	uint32_t kind, length;
	while (rt_manifest_next(&reader, &kind, &payload, &length) == 1) {
		struct manifest_descriptor record;
		struct descriptor_timerfd timer;
		if (kind != MANIFEST_DESCRIPTOR)
			continue;
		memcpy(&record, payload, sizeof(record));
		if (record.number != 10)
			continue;
		CHECK(record.payload_length == sizeof(timer));
		memcpy(&timer, (const char *)payload + sizeof(record), sizeof(timer));
		return timer;
	}
	CHECK(!"captured");
	return (struct descriptor_timerfd){0};
}

/* The thread that captures is on another processor than the timer: it sees it due before it expires. */
static void capture_when_due(void *unused)
{
	static struct manifest_writer writer;
	pthread_t thread;
	(void)unused;
	close_range(3, ~0U, 0);
	put_at(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 10);
	struct descriptor_table *table = open_table();
	run_on(1);
	time_t end = time(NULL) + ENOUGH_S;
	CHECK(pthread_create(&thread, NULL, set_timer, NULL) == 0);
	for (int i = 1; i <= last; i++) {
		uint64_t ticks;
		while (__atomic_load_n(&set_count, __ATOMIC_ACQUIRE) != i)
			;
		for (volatile int pause = 0; pause < i % 64 * 500; pause++)
			;
		begin_manifest(&writer);
		CHECK(rt_descriptors_capture(table, &writer) == 0);
		struct descriptor_timerfd timer = captured_timer(&writer);
		CHECK((timer.value_ns > 0 && timer.ticks == 0) || (timer.value_ns == 0 && timer.ticks == 1));
		if (i % 3 == 0) {
			while (!is_ready(10))
				;
			CHECK(read(10, &ticks, 8) == 8);
			rt_descriptors_note_timer(10, false);
			begin_manifest(&writer);
			CHECK(rt_descriptors_capture(table, &writer) == 0);
			timer = captured_timer(&writer);
			CHECK(timer.value_ns == 0 && timer.ticks == 0);
		}
		if (time(NULL) > end)
			__atomic_store_n(&last, i, __ATOMIC_RELEASE);
		__atomic_store_n(&captured_count, i, __ATOMIC_RELEASE);
	}
	CHECK(pthread_join(thread, NULL) == 0);
}

Test(descriptor_event, a_timer_that_is_due_is_not_lost)
{
	in_process(capture_when_due, NULL);
}

/* ---- signalfd, inotify ---- */

static void open_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	put_at(signalfd(-1, &set, SFD_NONBLOCK), 10);
	put_at(inotify_init1(IN_NONBLOCK), 11);
}

static void check_signals(void)
{
	struct signalfd_siginfo info;
	sigset_t set;
	sigfillset(&set);
	CHECK(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
	CHECK(kill(getpid(), SIGUSR2) == 0 && !is_ready(10));
	CHECK(kill(getpid(), SIGUSR1) == 0 && read(10, &info, sizeof(info)) == sizeof(info));
	CHECK(info.ssi_signo == SIGUSR1);
	CHECK(kill(getpid(), SIGRTMIN + 3) == 0 && read(10, &info, sizeof(info)) == sizeof(info));
	CHECK(inotify_add_watch(11, ".", IN_CREATE) >= 0);
	write_file("created", "");
	CHECK(is_ready(11) && unlink("created") == 0);
}

Test(descriptor_event, signalfd_and_inotify_work_again)
{
	check_kept(open_signals, check_signals);
}

/* ---- epoll ---- */

static void watch(int epoll, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event event = {.events = events, .data.u64 = data};
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void open_epoll(void)
{
	struct epoll_event fired;
	put_at(epoll_create1(EPOLL_CLOEXEC), 10);
	put_at(eventfd(0, EFD_NONBLOCK), 11);
	put_at(eventfd(0, EFD_NONBLOCK), 12);
	put_at(epoll_create1(0), 13);
	put_at(epoll_create1(0), 14);
	put_at(eventfd(1, 0), 15);
	watch(10, 11, EPOLLIN | EPOLLET, 0x1122334455667788);
	watch(10, 13, EPOLLIN, 13);
	watch(13, 12, EPOLLIN, 12);
	watch(14, 15, EPOLLIN | EPOLLONESHOT, 15); /* fires and is then disarmed */
	CHECK(epoll_wait(14, &fired, 1, 0) == 1 && epoll_wait(14, &fired, 1, 0) == 0);
}

static void check_epoll(void)
{
	struct epoll_event fired[4];
	CHECK(fcntl(10, F_GETFD) == FD_CLOEXEC);
	CHECK(epoll_wait(10, fired, 4, 0) == 0);
	CHECK(eventfd_write(11, 1) == 0 && epoll_wait(10, fired, 4, 0) == 1);
	CHECK(fired[0].data.u64 == 0x1122334455667788 && fired[0].events == EPOLLIN);
	CHECK(epoll_wait(10, fired, 4, 0) == 0); /* edge */
	CHECK(eventfd_write(12, 1) == 0 && epoll_wait(10, fired, 4, 0) == 1 && fired[0].data.u64 == 13);
	CHECK(epoll_wait(13, fired, 4, 0) == 1 && fired[0].data.u64 == 12);
	CHECK(epoll_wait(14, fired, 4, 0) == 0);
	struct epoll_event again = {.events = EPOLLIN | EPOLLONESHOT, .data.u64 = 16};
	CHECK(epoll_ctl(14, EPOLL_CTL_MOD, 15, &again) == 0);
	CHECK(epoll_wait(14, fired, 4, 0) == 1 && fired[0].data.u64 == 16);
}

Test(descriptor_event, epoll_keeps_its_interest_lists)
{
	check_kept(open_epoll, check_epoll);
}

/* ---- one anonymous inode for all ---- */

static void swap_kinds(void *argument)
{
	static struct manifest_writer writer;
	uint64_t value = 5;
	(void)argument;
	close_range(3, ~0U, 0);
	put_at(eventfd(1, EFD_NONBLOCK), 10);
	put_at(epoll_create1(0), 11);
	put_at(inotify_init1(IN_NONBLOCK), 12);
	struct descriptor_table *table = open_table();
	CHECK(rt_descriptors_prepare(table) == 0);
	for (int fd = 10; fd <= 12; fd++)
		close(fd);
	put_at(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 10);
	arm(10, 0, 100000, 0);
	put_at(eventfd(0, EFD_NONBLOCK), 11);
	CHECK(write(11, &value, 8) == 8);
	put_at(epoll_create1(0), 12);
	watch(12, 11, EPOLLIN, 1);
	CHECK(rt_descriptors_capture(table, &writer) == 0);
	keep_manifest(&writer);
}

static void check_swapped(void)
{
	struct epoll_event fired;
	uint64_t value;
	int64_t interval;
	CHECK(left_ms(10, &interval) > 90000);
	CHECK(epoll_wait(12, &fired, 1, 0) == 1);
	CHECK(eventfd_read(11, &value) == 0 && value == 5);
}

Test(descriptor_event, another_kind_at_the_same_number_is_noticed)
{
	in_process(swap_kinds, NULL);
	restore_in_process(check_swapped);
}
