/* eventfd, timerfd, signalfd, inotify, epoll. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "restore/descriptors/private.h"
#include "restore/descriptors/replaced.h"

#define NANOSECONDS 1000000000L
#define SET_TICKS _IOW('T', 0, uint64_t) /* TFD_IOC_SET_TICKS; needs CONFIG_CHECKPOINT_RESTORE */
#define COUNT_LIMIT (UINT64_MAX - 1)     /* the most an eventfd takes */

static int keep(struct restoration *restoration, struct entry *entry, int fd)
{
	entry->temporary = restore_move_up(restoration, fd);
	if (entry->temporary < 0)
		return restore_refuse(restoration, "cannot make descriptor %d (%s): %s", entry->record.number,
				      entry->name, strerror(errno));
	return 0;
}

int restore_open_eventfd(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_eventfd *event = PAYLOAD(entry, struct descriptor_eventfd);
	uint64_t count = event->count < COUNT_LIMIT ? event->count : COUNT_LIMIT;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (event->semaphore ? EFD_SEMAPHORE : 0));
	if (keep(restoration, entry, fd) < 0)
		return -1;
	if (count > 0 && write(entry->temporary, &count, sizeof(count)) < 0)
		return restore_refuse(restoration, "cannot set descriptor %d (%s): %s", entry->record.number,
				      entry->name, strerror(errno));
	return 0;
}

/* ---- timers ---- */

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / NANOSECONDS, .tv_nsec = ns % NANOSECONDS};
}

/* An alarm clock wakes the machine and needs a capability: its plain clock is the next best. */
static int create_timer(uint32_t clock)
{
	int fd = timerfd_create((int)clock, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0 && errno == EPERM && (clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM))
		fd = timerfd_create(clock == CLOCK_REALTIME_ALARM ? CLOCK_REALTIME : CLOCK_BOOTTIME,
				    TFD_CLOEXEC | TFD_NONBLOCK);
	return fd;
}

static int start_timer(int fd, const struct descriptor_timerfd *timer)
{
	struct itimerspec setting = {.it_value = timespec_of(timer->value_ns),
				     .it_interval = timespec_of(timer->interval_ns)};
	bool wall_clock = timer->clock == CLOCK_REALTIME || timer->clock == CLOCK_REALTIME_ALARM;
	int flags = 0;
	if (wall_clock && (timer->settime_flags & TFD_TIMER_ABSTIME))
		flags = (int)timer->settime_flags & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET);
	if (timerfd_settime(fd, flags, &setting, NULL) < 0)
		return -1;
	if (timer->ticks == 0 || ioctl(fd, SET_TICKS, &timer->ticks) == 0)
		return 0;
	/* A kernel that cannot set the count: expire at once, then go on with the period. */
	setting.it_value = timespec_of(1);
	return timerfd_settime(fd, 0, &setting, NULL);
}

int restore_open_timerfd(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_timerfd *timer = PAYLOAD(entry, struct descriptor_timerfd);
	if (keep(restoration, entry, create_timer(timer->clock)) < 0)
		return -1;
	if (start_timer(entry->temporary, timer) < 0)
		return restore_refuse(restoration, "cannot set descriptor %d (%s): %s", entry->record.number,
				      entry->name, strerror(errno));
	return 0;
}

/* ---- signalfd, inotify ---- */

int restore_open_signalfd(struct restoration *restoration, struct entry *entry)
{
	const struct descriptor_signalfd *signals = PAYLOAD(entry, struct descriptor_signalfd);
	int fd = (int)syscall(SYS_signalfd4, -1, &signals->mask, sizeof(signals->mask), O_CLOEXEC | O_NONBLOCK);
	return keep(restoration, entry, fd);
}

/* Visits the watches; parse has checked that they lie inside. */
static const struct descriptor_watch *next_watch(const struct entry *entry, size_t *at)
{
	const struct descriptor_watch *watch = (const struct descriptor_watch *)(const void *)(entry->payload + *at);
	*at += sizeof(*watch) + ((watch->path_length + 7UL) & ~7UL);
	return watch;
}

/* The one with the lowest number above `number`, or NULL. */
static const struct descriptor_watch *watch_after(const struct entry *entry, int number)
{
	const struct descriptor_watch *lowest = NULL;
	size_t at = sizeof(struct descriptor_inotify);
	for (uint32_t i = 0; i < PAYLOAD(entry, struct descriptor_inotify)->watches; i++) {
		const struct descriptor_watch *watch = next_watch(entry, &at);
		if (watch->number > number && (lowest == NULL || watch->number < lowest->number))
			lowest = watch;
	}
	return lowest;
}

static const char *path_of(const struct descriptor_watch *watch)
{
	return watch->path_length > 0 ? (const char *)(watch + 1) : "a path that is not known";
}

static bool is_there(const struct descriptor_watch *watch)
{
	struct stat status;
	return watch->path_length > 0 && lstat(path_of(watch), &status) == 0 &&
	       restore_is_same_inode(watch->inode, status.st_ino);
}

/* Numbers are given out in ascending order: one that is too low is given back, and the next one is higher. */
static int add_watch(int fd, const struct descriptor_watch *watch)
{
	for (;;) {
		int number = inotify_add_watch(fd, path_of(watch), watch->mask | IN_DONT_FOLLOW);
		if (number < 0 || number == watch->number)
			return number < 0 ? -1 : 0;
		inotify_rm_watch(fd, number);
		if (number > watch->number) {
			errno = EEXIST;
			return -1;
		}
	}
}

/* What giving back has left in the queue is no event of the program's. */
static void discard_events(int fd)
{
	char events[4096];
	while (read(fd, events, sizeof(events)) > 0)
		;
}

int restore_open_inotify(struct restoration *restoration, struct entry *entry)
{
	if (keep(restoration, entry, inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) < 0)
		return -1;
	const struct descriptor_watch *watch = NULL;
	while ((watch = watch_after(entry, watch ? watch->number : 0)) != NULL) {
		errno = ENOENT;
		if (!is_there(watch) || add_watch(entry->temporary, watch) < 0)
			restore_warn(restoration, "descriptor %d (inotify) no longer watches %s: %s",
				     entry->record.number, path_of(watch), strerror(errno));
		discard_events(entry->temporary);
	}
	if (PAYLOAD(entry, struct descriptor_inotify)->unread > 0)
		restore_warn(restoration, "descriptor %d (inotify): events that were not read are lost",
			     entry->record.number);
	return 0;
}

/* ---- processes ---- */

#define THREAD_FLAG O_EXCL /* PIDFD_THREAD */

/* Of a process that has ended and been waited for. */
static int open_ended(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL); /* no exit signal */
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return -1;
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	waitpid(pid, NULL, __WALL);
	return fd;
}

/* Children come to life again as what they have become: ended. Threads do not exist yet. */
int restore_open_pidfd(struct restoration *restoration, struct entry *entry)
{
	int32_t pid = PAYLOAD(entry, struct descriptor_pidfd)->pid;
	unsigned flags = entry->record.flags & O_NONBLOCK;
	if (pid == restoration->pid && pid > 0)
		return keep(restoration, entry,
			    (int)syscall(SYS_pidfd_open, getpid(), flags | (entry->record.flags & THREAD_FLAG)));
	if (entry->record.flags & THREAD_FLAG)
		return restore_lose(restoration, entry, "it is of a thread");
	return keep(restoration, entry, open_ended());
}

/* ---- epoll ---- */

int restore_open_epoll(struct restoration *restoration, struct entry *entry)
{
	return keep(restoration, entry, epoll_create1(EPOLL_CLOEXEC));
}

static bool is_disarmed(const struct descriptor_interest *interest)
{
	return (interest->events & EPOLLONESHOT) && !(interest->events & EPOLLERR);
}

/*
 * A one-shot entry that has fired and waits for EPOLL_CTL_MOD cannot be added as such: adding
 * arms it. So it is added alone, for everything, and what is ready fires here; what is not ready
 * is left to fire for errors only.
 */
static int add_disarmed(int epoll, int fd, struct epoll_event *event)
{
	struct epoll_event fired;
	event->events = EPOLLONESHOT | EPOLLIN | EPOLLOUT;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event) < 0)
		return -1;
	if (epoll_wait(epoll, &fired, 1, 0) == 1)
		return 0;
	event->events = EPOLLONESHOT;
	return epoll_ctl(epoll, EPOLL_CTL_MOD, fd, event);
}

/* Its number, or while it is in flight the temporary one. */
static int place_of(struct restoration *restoration, const struct entry *entry)
{
	return entry->record.in_flight ? restore_source(restoration, entry)->temporary : entry->record.number;
}

static void add_interest(struct restoration *restoration, const struct entry *entry,
			 const struct descriptor_interest *interest, bool disarmed)
{
	struct epoll_event event = {.events = interest->events, .data.u64 = interest->data};
	const struct entry *watched = restore_find(restoration, interest->number);
	if (watched == NULL || watched->lost) /* has been named */
		return;
	int epoll = place_of(restoration, entry), fd = place_of(restoration, watched);
	int result = disarmed ? add_disarmed(epoll, fd, &event) : epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	if (result < 0)
		restore_warn(restoration, "descriptor %d (epoll) no longer watches descriptor %d (%s): %s",
			     entry->record.number, interest->number, watched->name, strerror(errno));
}

/* The ones that must not fire first: while they are added the list holds nothing that may. */
void restore_attach_epoll(struct restoration *restoration, const struct entry *entry)
{
	const struct descriptor_epoll *epoll = PAYLOAD(entry, struct descriptor_epoll);
	const struct descriptor_interest *interests =
		(const struct descriptor_interest *)(const void *)(entry->payload + sizeof(*epoll));
	for (int armed = 0; armed <= 1; armed++)
		for (uint32_t i = 0; i < epoll->count; i++)
			if (is_disarmed(&interests[i]) != armed)
				add_interest(restoration, entry, &interests[i], !armed);
}
