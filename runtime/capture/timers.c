/*
 * Timers: the three interval timers and those of timer_create(2). In the stop.
 *
 * The kernel lists the latter in /proc/self/timers, four lines each:
 *   ID: 1 / signal: 14/00007ffd5c4f2a10 / notify: signal/tid.4711 / ClockID: 0
 *
 * Timers run on while the threads stand. So that an expiry is captured once, as a pending signal or as
 * time left, the time left is read twice: before the look at the signals (rt_sample_timers) and after.
 * Expired between the two and not among the signals: it will expire at once in the restored process. What
 * is left is as of the beginning of the second reading, for all timers: they expire in their order.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include "base/memory.h"
#include "base/sys.h"
#include "engine.h"
#include "threads/wait.h"

#define NS_PER_S 1000000000L
#define FIRST_TIMERS 512
#define AT_ONCE_SHIFT 16 /* time left before, so much shortened: the order of timers that expire at once */

/* What is left now, given what was left before the look at the signals; in any unit. */
static int64_t time_left(int64_t before, int64_t now, int64_t interval, bool signalled)
{
	bool expired = now == 0 || now > before;
	if (signalled || before == 0 || !expired)
		return now == 0 && signalled ? interval : now == 0 && interval != 0 ? 1 : now;
	return 1 + (before >> AT_ONCE_SHIFT);
}

/* Whether a clock runs while the threads stand. */
static bool is_wall_clock(int clock)
{
	return clock >= 0 && clock != CLOCK_PROCESS_CPUTIME_ID && clock != CLOCK_THREAD_CPUTIME_ID;
}

static int64_t microseconds(struct timeval time)
{
	return time.tv_sec * 1000000L + time.tv_usec;
}

static int64_t nanoseconds(struct timespec time)
{
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

static void write_interval_timer(struct engine *engine, uint32_t which, struct manifest_writer *writer)
{
	static const int signals[] = {SIGALRM, SIGVTALRM, SIGPROF};
	struct itimerval timer;
	if (rt_syscall(SYS_getitimer, which, &timer) < 0)
		return;
	bool signalled = (engine->process_pending & 1UL << (signals[which] - 1)) != 0;
	struct manifest_timer record = {.which = which, .interval_us = microseconds(timer.it_interval)};
	record.value_us = time_left(engine->interval_timers_us[which], microseconds(timer.it_value), record.interval_us,
				    signalled);
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

/*
 * The signal of a timer that has expired and whose signal nobody has received yet. It is not taken off
 * the queue to see it, for that starts the timer again; but what it carries is known.
 */
static bool write_pending_expiry(struct engine *engine, const struct manifest_posix_timer *timer,
				 struct manifest_writer *writer)
{
	if (timer->signal <= 0 || timer->signal > 64)
		return false;
	uint64_t bit = 1UL << (timer->signal - 1), pending = engine->process_pending;
	if (timer->notify & SIGEV_THREAD_ID)
		for (int i = 0; i < engine->thread_count; i++)
			if (engine->threads[i].tid == timer->target)
				pending = engine->threads[i].pending;
	if ((engine->timer_signals & bit) == 0)
		return rt_expiry_was_taken(engine, timer->id);
	if ((pending & bit) == 0)
		return false;
	siginfo_t info;
	memset(&info, 0, sizeof(info));
	info.si_signo = timer->signal;
	info.si_code = SI_TIMER;
	info.si_timerid = timer->id;
	info.si_value.sival_ptr = (void *)timer->value;
	struct manifest_queued_signal record = {.tid = timer->notify & SIGEV_THREAD_ID ? timer->target : 0,
						.number = timer->signal};
	memcpy(record.info, &info, sizeof(record.info));
	rt_manifest_add(writer, MANIFEST_QUEUED_SIGNAL, &record, sizeof(record));
	return true;
}

/* One timer's four lines; returns the text after them, NULL when malformed. */
static const char *write_posix_timer(struct engine *engine, const char *text, struct manifest_writer *writer)
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
	bool signalled = write_pending_expiry(engine, &record, writer);
	if (rt_syscall(SYS_timer_gettime, record.id, &setting) == 0) {
		int64_t before = engine->timer_samples.values_ns[engine->timer_samples.next];
		int64_t now = nanoseconds(setting.it_value);
		record.interval_ns = nanoseconds(setting.it_interval);
		record.value_ns = time_left(before, now, record.interval_ns, signalled);
		if (now > 0 && record.value_ns == now && is_wall_clock(record.clock))
			record.value_ns += rt_monotonic_ns() - engine->timer_samples.second_ns;
	}
	engine->timer_samples.next++;
	rt_manifest_add(writer, MANIFEST_POSIX_TIMER, &record, sizeof(record));
	return clock;
}

static int sample_timer(struct timer_samples *samples, int id)
{
	struct itimerspec setting;
	if (samples->count == samples->capacity) {
		size_t capacity = samples->capacity ? 2 * samples->capacity : FIRST_TIMERS;
		int64_t *values = rt_memory_grow(samples->values_ns, samples->capacity * sizeof(int64_t),
						 capacity * sizeof(int64_t));
		if (values == NULL)
			return -ENOMEM;
		samples->values_ns = values;
		samples->capacity = capacity;
	}
	long result = rt_syscall(SYS_timer_gettime, id, &setting);
	samples->values_ns[samples->count++] = result < 0 ? 0 : nanoseconds(setting.it_value);
	return 0;
}

/* Notes time left and signal of one timer. Whose signal it is when several have the same, only its receipt tells. */
static const char *note_timer(struct engine *engine, const char *text, struct manifest_writer *writer)
{
	const char *id = after(text, "ID: "), *signal = after(text, "signal: "), *notify = after(text, "notify: "),
		   *clock = after(text, "ClockID: ");
	(void)writer;
	if (id == NULL || signal == NULL || notify == NULL || clock == NULL ||
	    sample_timer(&engine->timer_samples, (int)number(id, 10)) < 0)
		return NULL;
	int64_t which = number(signal, 10);
	if (which <= 0 || which > 64 || strncmp(notify, "none", 4) == 0)
		return clock;
	uint64_t bit = 1UL << (which - 1);
	engine->shared_timer_signals |= engine->timer_signals & bit;
	engine->timer_signals |= bit;
	return clock;
}

/* Does something with every timer; reads the list in pieces that end with whole timers. */
static int walk_posix_timers(struct engine *engine, struct manifest_writer *writer,
			     const char *(*visit)(struct engine *, const char *, struct manifest_writer *))
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
			if ((at = visit(engine, at, writer)) == NULL)
				return -EPROTO;
		if (got == 0)
			return 0;
		held -= (size_t)(at - text);
		memmove(text, at, held);
	}
}

/*
 * Whether a timer has expired since the last look: one of those whose signals are put back, so that the order matters.
 * One whose signal is among them would not expire if it had not been taken. Its time left is what it is now: its signal
 * is taken after this.
 */
static const char *look_again(struct engine *engine, const char *text, struct manifest_writer *writer)
{
	const char *id = after(text, "ID: "), *signal = after(text, "signal: "), *clock = after(text, "ClockID: ");
	struct timer_samples *samples = &engine->timer_samples;
	(void)writer;
	if (id == NULL || signal == NULL || clock == NULL)
		return NULL;
	int64_t *sample = &samples->values_ns[samples->next++];
	int64_t which = number(signal, 10);
	if (which <= 0 || which > 64 || (engine->shared_timer_signals & 1UL << (which - 1)) == 0)
		return clock;
	struct itimerspec setting;
	int timer = (int)number(id, 10);
	if (rt_syscall(SYS_timer_gettime, timer, &setting) < 0)
		return clock;
	int64_t now = nanoseconds(setting.it_value);
	if (*sample != 0 && (now == 0 || now > *sample) && !rt_expiry_was_taken(engine, timer))
		samples->expired = true;
	*sample = now;
	return clock;
}

bool rt_shared_timer_expired(struct engine *engine)
{
	engine->timer_samples.next = 0;
	engine->timer_samples.expired = false;
	if (engine->shared_timer_signals != 0)
		walk_posix_timers(engine, NULL, look_again);
	return engine->timer_samples.expired;
}

int rt_capture_timers(struct engine *engine, struct manifest_writer *writer)
{
	for (uint32_t which = ITIMER_REAL; which <= ITIMER_PROF; which++)
		write_interval_timer(engine, which, writer);
	engine->timer_samples.next = 0;
	engine->timer_samples.second_ns = rt_monotonic_ns();
	return walk_posix_timers(engine, writer, write_posix_timer);
}

int rt_sample_timers(struct engine *engine)
{
	struct itimerval timer;
	for (uint32_t which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
		long result = rt_syscall(SYS_getitimer, which, &timer);
		engine->interval_timers_us[which] = result < 0 ? 0 : microseconds(timer.it_value);
	}
	engine->timer_signals = 0;
	engine->shared_timer_signals = 0;
	engine->timer_samples.count = 0;
	int result = walk_posix_timers(engine, NULL, note_timer);
	engine->timer_signals &= ~(engine->shared_timer_signals | rt_root.own_signals);
	return result;
}
