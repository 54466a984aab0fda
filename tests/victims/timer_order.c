/* Timers that share a signal, which is blocked, expire one after the other, some of them while a checkpoint looks at
 * what is pending: their signals are received once each, in the order of their expiry. Meanwhile another thread has
 * signals pending that only it could send to itself as they were sent: they come, too, each once. */
#include <sched.h>
#include <signal.h>
#include <time.h>

#include "victim.h"

#define TIMERS 20
#define APART_MS 4
#define FOR_THREAD 256

/* Timers expire on the processor that started them; two of them may be late by different times. */
static void stay_on_one_processor(void)
{
	cpu_set_t all, one;
	int i = 0;

	CHECK_EQUAL(sched_getaffinity(0, sizeof(all), &all), 0);
	while (!CPU_ISSET(i, &all))
		i++;
	CPU_ZERO(&one);
	CPU_SET(i, &one);
	CHECK_EQUAL(sched_setaffinity(0, sizeof(one), &one), 0);
}

static timer_t start_timer(int number, int value)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number, .sigev_value.sival_int = value};
	struct itimerspec setting = {.it_value.tv_nsec = (value + 1) * APART_MS * MILLISECOND};
	timer_t timer;

	CHECK_EQUAL(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	CHECK_EQUAL(timer_settime(timer, 0, &setting, NULL), 0);
	return timer;
}

/* Blocks the signal, as its starter did. Receives all when there is one more. */
static void *receive_for_thread(void *argument)
{
	int number = *(int *)argument;
	struct timespec none = {0, 0};
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQUAL(sigwaitinfo(&set, &info), SIGUSR1);
	sigemptyset(&set);
	sigaddset(&set, number);
	for (int i = 0; i < FOR_THREAD; i++) {
		CHECK_EQUAL(sigtimedwait(&set, &info, &none), number);
		CHECK_EQUAL(info.si_code, SI_USER); /* glibc's name for SI_TKILL */
		CHECK_EQUAL(info.si_pid, getpid());
	}
	CHECK_EQUAL(sigtimedwait(&set, &info, &none), -1);
	return NULL;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 25), round, received = 0;
	int number = SIGRTMIN + 6, other = SIGRTMIN + 7, i;
	struct timespec none = {0, 0};
	timer_t timers[TIMERS];
	siginfo_t info;
	sigset_t set;

	stay_on_one_processor();
	sigemptyset(&set);
	sigaddset(&set, number);
	sigaddset(&set, other);
	sigaddset(&set, SIGUSR1);
	CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	pthread_t thread = start_thread(receive_for_thread, &other);
	for (i = 0; i < FOR_THREAD; i++)
		CHECK_EQUAL(pthread_kill(thread, other), 0);
	sigemptyset(&set);
	sigaddset(&set, number);
	for (round = 0; round < rounds; round++) {
		for (i = 0; i < TIMERS; i++)
			timers[i] = start_timer(number, i);
		usleep((TIMERS + 2) * APART_MS * 1000);
		for (i = 0; i < TIMERS; i++) {
			CHECK_EQUAL(sigwaitinfo(&set, &info), number);
			CHECK_EQUAL(info.si_code, SI_TIMER);
			CHECK_EQUAL(info.si_value.sival_int, i);
			CHECK_EQUAL(timer_delete(timers[i]), 0);
			received++;
		}
		CHECK_EQUAL(sigtimedwait(&set, &info, &none), -1);
	}
	CHECK_EQUAL(pthread_kill(thread, SIGUSR1), 0);
	join_thread(thread);
	printf("timer_order: %ld\n", received);
	return 0;
}
