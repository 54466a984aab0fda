/*
 * Timers: the three interval timers and those of timer_create(2). In the stop.
 *
 * The kernel lists the latter in /proc/self/timers, four lines each:
 *   ID: 1 / signal: 14/00007ffd5c4f2a10 / notify: signal/tid.4711 / ClockID: 0
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "engine.h"
#include "sys.h"

#define NS_PER_S 1000000000L

static void write_interval_timer(uint32_t which, uint64_t pending, struct manifest_writer *writer)
{
	struct itimerval timer;
	if (rt_syscall(SYS_getitimer, which, &timer) < 0)
		return;
	struct manifest_timer record = {
		.which = which,
		.value_us = timer.it_value.tv_sec * 1000000L + timer.it_value.tv_usec,
		.interval_us = timer.it_interval.tv_sec * 1000000L + timer.it_interval.tv_usec,
	};
	/* Expired: the kernel starts it again when its signal is delivered, which is pending. */
	if (record.value_us == 0 && record.interval_us != 0)
		record.value_us = pending & 1UL << (SIGALRM - 1) ? record.interval_us : 1;
	if (record.value_us != 0)
		rt_manifest_add(writer, MANIFEST_TIMER, &record, sizeof(record));
}

static const char *after(const char *text, const char *label)
{
	const char *found = strstr(text, label);
	return found ? found + strlen(label) : NULL;
}

static int64_t number(const char *text, unsigned base)
{
	int64_t value = 0;
	bool negative = *text == '-';
	for (text += negative;; text++) {
		unsigned digit = *text >= '0' && *text <= '9'   ? (unsigned)(*text - '0')
				 : *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a' + 10)
								: 16;
		if (digit >= base)
			return negative ? -value : value;
		value = value * base + digit;
	}
}

static int32_t notification(const char *text, int32_t *target)
{
	int32_t notify = strncmp(text, "none", 4) == 0 ? SIGEV_NONE : SIGEV_SIGNAL;
	const char *tid = after(text, "/tid.");
	*target = 0;
	if (tid != NULL && tid < text + 16) {
		*target = (int32_t)number(tid, 10);
		notify |= SIGEV_THREAD_ID;
	}
	return notify;
}

/* One timer's four lines; returns the text after them, NULL when malformed. */
static const char *write_posix_timer(const char *text, struct manifest_writer *writer)
{
	const char *id = after(text, "ID: "), *signal = after(text, "signal: "), *notify = after(text, "notify: "),
		   *clock = after(text, "ClockID: ");
	const char *value = signal ? after(signal, "/") : NULL;
	struct itimerspec setting;
	if (id == NULL || value == NULL || notify == NULL || clock == NULL)
		return NULL;
	struct manifest_posix_timer record = {
		.id = (int32_t)number(id, 10),
		.signal = (int32_t)number(signal, 10),
		.value = (uint64_t)number(value, 16),
		.clock = (int32_t)number(clock, 10),
	};
	record.notify = notification(notify, &record.target);
	if (rt_syscall(SYS_timer_gettime, record.id, &setting) == 0) {
		record.value_ns = setting.it_value.tv_sec * NS_PER_S + setting.it_value.tv_nsec;
		record.interval_ns = setting.it_interval.tv_sec * NS_PER_S + setting.it_interval.tv_nsec;
	}
	rt_manifest_add(writer, MANIFEST_POSIX_TIMER, &record, sizeof(record));
	return clock;
}

/* Reads the list in pieces that end with whole timers. */
static int write_posix_timers(const struct engine *engine, struct manifest_writer *writer)
{
	char text[4096];
	size_t held = 0;
	if (engine->timers_fd < 0 || rt_sys_lseek(engine->timers_fd, 0, SEEK_SET) < 0)
		return 0;
	for (;;) {
		ssize_t got = rt_sys_read(engine->timers_fd, text + held, sizeof(text) - 1 - held);
		if (got < 0)
			return (int)got;
		held += (size_t)got;
		text[held] = '\0';
		const char *at = text, *end;
		/* A timer is whole when its last line is. */
		while ((end = after(at, "ClockID: ")) != NULL && strchr(end, '\n') != NULL)
			if ((at = write_posix_timer(at, writer)) == NULL)
				return -EPROTO;
		if (got == 0)
			return 0;
		held -= (size_t)(at - text);
		memmove(text, at, held);
	}
}

int rt_capture_timers(struct engine *engine, uint64_t pending, struct manifest_writer *writer)
{
	for (uint32_t which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		write_interval_timer(which, pending, writer);
	return write_posix_timers(engine, writer);
}
