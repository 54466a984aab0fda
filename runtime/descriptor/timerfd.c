/* timerfd: the time left and the expirations that were not read. */
#include <sys/timerfd.h>

#include "descriptor/table.h"

#define NANOSECONDS 1000000000L
#define READINGS 8
#define SPIN_NS 50000L
#define LONGEST_WAIT_NS (100 * 1000000L)
#define SHORTEST_WAIT_NS 200000L

/* No more than 292 years. */
static int64_t nanoseconds(const struct timespec *time)
{
	return time->tv_sec >= INT64_MAX / NANOSECONDS ? INT64_MAX : time->tv_sec * NANOSECONDS + time->tv_nsec;
}

/*
 * A timer that is due, and has not expired yet because its interrupt is on the way (10 us from another processor, some ms
 * where that one has to be woken by a hypervisor), looks like one that has expired and was read: no time left, no ticks.
 * So the calls that are seen mark which ones have been set (odd) and not read since (even), each setting by another
 * number, and a capture marks which it has seen running. When such a one is due, it is waited for; not for long, as it
 * may have been read by a call that was not seen.
 */
static uint8_t marks[1 << 16];

static uint8_t mark_of(int fd)
{
	return fd >= 0 && (size_t)fd < sizeof(marks) ? marks[fd] : 0;
}

void rt_descriptors_note_timer(int fd, bool is_set)
{
	uint8_t mark = mark_of(fd), next = (uint8_t)(is_set ? (mark | 1) + 2 : mark & ~1);
	if (next != mark && (size_t)fd < sizeof(marks))
		marks[fd] = next;
}

static void judge(struct descriptor *timer, enum timer_judgement judgement)
{
	timer->timer_mark = mark_of(timer->number);
	timer->timer_judgement = judgement;
}

/* Whether it is to expire, as far as is known, when no time is left. */
static bool is_awaited(const struct descriptor *timer)
{
	uint8_t mark = mark_of(timer->number);
	if (timer->timer_judgement != TIMER_NOT_JUDGED && timer->timer_mark == mark)
		return timer->timer_judgement == TIMER_RUNNING;
	return mark & 1;
}

/* False: it has been waited for long enough, which is half as long each time that it was in vain. */
static bool wait_for_expiry(struct descriptor_table *table, int64_t *started)
{
	const struct timespec moment = {.tv_nsec = 20000};
	int64_t now = rt_monotonic_ns(), patience_ns = LONGEST_WAIT_NS >> table->timer_waits_in_vain;
	if (*started == 0)
		*started = now;
	if (now - *started < patience_ns) {
		if (now - *started > SPIN_NS)
			rt_syscall(SYS_nanosleep, &moment, NULL);
		return true;
	}
	if (patience_ns > SHORTEST_WAIT_NS)
		table->timer_waits_in_vain++;
	return false;
}

struct timer_state {
	struct itimerspec setting; /* it_value: the time left */
	uint64_t ticks;
};

/* The time left before and after the ticks are read, which are in table->text, too. */
static int read_timer(struct descriptor_table *table, int fd, int64_t *before, struct timer_state *state)
{
	if (rt_syscall(SYS_timerfd_gettime, fd, &state->setting) < 0)
		return -ESTALE;
	*before = nanoseconds(&state->setting.it_value);
	int result = rt_descriptor_read_fdinfo(table, fd);
	if (result < 0)
		return result;
	if (!rt_descriptor_get_number(table->text.bytes, "ticks:", 10, &state->ticks) ||
	    rt_syscall(SYS_timerfd_gettime, fd, &state->setting) < 0)
		return -ESTALE;
	return 0;
}

/*
 * Until time left and ticks are of one moment: an expiry between them would be missing, or come twice; with an interval
 * too short for that, one may. A periodic timer that nobody has read since it expired stands still until it is asked for
 * the time left, and shows none when that is not asked for first.
 */
static int read_timerfd(struct descriptor_table *table, struct descriptor *timer, struct timer_state *state)
{
	int64_t started = 0, before;
	for (int i = 0; i < READINGS;) {
		int result = read_timer(table, timer->number, &before, state);
		if (result < 0)
			return result;
		int64_t left = nanoseconds(&state->setting.it_value);
		bool periodic = nanoseconds(&state->setting.it_interval) != 0;
		if (left > 0)
			judge(timer, TIMER_RUNNING);
		if (left > 0 && before >= left)
			break;
		if (left > 0 || before > 0) {
			i++;
		} else if (!periodic && (state->ticks > 0 || !is_awaited(timer))) {
			judge(timer, TIMER_AT_REST);
			break;
		} else if (!wait_for_expiry(table, &started)) {
			judge(timer, periodic ? TIMER_RUNNING : TIMER_AT_REST);
			state->setting.it_value.tv_nsec = periodic;
			return 0;
		}
	}
	if (started != 0 && table->timer_waits_in_vain > 0)
		table->timer_waits_in_vain--;
	return 0;
}

int rt_descriptor_capture_timerfd(struct descriptor_table *table, struct descriptor *descriptor,
				  struct manifest_writer *writer)
{
	struct timer_state state;
	uint64_t clock, flags;
	int result = read_timerfd(table, descriptor, &state);
	if (result < 0)
		return result;
	const char *text = table->text.bytes;
	if (!rt_descriptor_get_number(text, "clockid:", 10, &clock) ||
	    !rt_descriptor_get_number(text, "settime flags:", 8, &flags))
		return -ESTALE;
	struct descriptor_timerfd timer = {
		.value_ns = nanoseconds(&state.setting.it_value),
		.interval_ns = nanoseconds(&state.setting.it_interval),
		.ticks = state.ticks,
	};
	timer.clock = (uint32_t)clock;
	timer.settime_flags = (uint32_t)flags;
	bool wall_clock = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
	if (wall_clock && (flags & TFD_TIMER_ABSTIME) && timer.value_ns != 0) {
		struct timespec now;
		rt_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
		if (__builtin_add_overflow(timer.value_ns, now.tv_sec * NANOSECONDS + now.tv_nsec, &timer.value_ns))
			timer.value_ns = INT64_MAX;
	}
	rt_manifest_put(writer, &timer, sizeof(timer));
	return 0;
}
