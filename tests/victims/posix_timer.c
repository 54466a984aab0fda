/* POSIX timers: one that signals and one that calls a function in a thread of its own; both go on
 * after a restore and never expire too often. */
#include <signal.h>

#include "victim.h"

#define PERIOD (5 * MILLISECOND)

static volatile sig_atomic_t signal_ticks;
static long thread_ticks; /* atomic */
static timer_t signal_timer, thread_timer;

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	CHECK_EQUAL(info->si_code, SI_TIMER);
	CHECK_EQUAL(info->si_value.sival_int, 77);
	signal_ticks++;
}

static void on_expiry(union sigval value)
{
	CHECK_EQUAL(value.sival_int, 78);
	__atomic_add_fetch(&thread_ticks, 1, __ATOMIC_RELEASE);
}

static void arm(timer_t timer)
{
	struct itimerspec setting = {to_timespec(PERIOD), to_timespec(PERIOD)};

	CHECK_EQUAL(timer_settime(timer, 0, &setting, NULL), 0);
}

static void make_timers(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigevent event = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3, .sigev_value.sival_int = 77};

	CHECK_EQUAL(sigaction(SIGRTMIN + 3, &action, NULL), 0);
	CHECK_EQUAL(timer_create(CLOCK_MONOTONIC, &event, &signal_timer), 0);
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_value.sival_int = 78;
	event.sigev_notify_function = on_expiry;
	event.sigev_notify_attributes = NULL;
	CHECK_EQUAL(timer_create(CLOCK_MONOTONIC, &event, &thread_timer), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 120);
	int64_t started = now_ns(), ticks;
	uint64_t value = 1;

	make_timers();
	arm(signal_timer);
	arm(thread_timer);
	while (signal_ticks < rounds || __atomic_load_n(&thread_ticks, __ATOMIC_RELAXED) < rounds) {
		value = spin(value, 100000);
		ticks = signal_ticks; /* read before the clock is */
		CHECK(ticks <= (now_ns() - started) / PERIOD);
		ticks = __atomic_load_n(&thread_ticks, __ATOMIC_ACQUIRE);
		CHECK(ticks <= (now_ns() - started) / PERIOD);
	}
	CHECK_EQUAL(timer_delete(signal_timer), 0);
	CHECK_EQUAL(timer_delete(thread_timer), 0);
	printf("posix_timer: %ld ticks\n", rounds);
	return 0;
}
