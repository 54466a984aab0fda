/* Signals queued with values, for the process and for one thread, each several times, and those of expired
 * timers: all come, once, in order. */
#include <signal.h>
#include <time.h>

#include "victim.h"

#define QUEUED 5
#define FIRST 40 /* free real-time signals, as far as libc and this program go */

static int sequence; /* of values, over all signals */
static pthread_t sleeper;
static long received_by_thread; /* atomic */
static pthread_barrier_t barrier;

static void queue_all(int number)
{
	for (int i = 0; i < QUEUED; i++) {
		union sigval value = {.sival_int = sequence + i};
		CHECK_EQUAL(sigqueue(getpid(), number, value), 0);
	}
}

static void take_all(int number, const sigset_t *set)
{
	for (int i = 0; i < QUEUED; i++) {
		siginfo_t info;
		CHECK_EQUAL(sigwaitinfo(set, &info), number);
		CHECK_EQUAL(info.si_code, SI_QUEUE);
		CHECK_EQUAL(info.si_pid, getpid());
		CHECK_EQUAL(info.si_uid, getuid());
		CHECK_EQUAL(info.si_value.sival_int, sequence + i);
	}
}

/* Signals of the other kind of sender: no value, but one entry for each. */
static void *sleep_and_take(void *argument)
{
	sigset_t set;
	struct timespec none = {0, 0};
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, FIRST + 2);
	sigaddset(&set, FIRST + 3);
	for (long i = 0; i < (long)argument; i++) {
		pthread_barrier_wait(&barrier); /* may be sent */
		pthread_barrier_wait(&barrier); /* have been sent */
		for (int j = 0; j < QUEUED; j++) {
			CHECK_EQUAL(sigtimedwait(&set, &info, &none), FIRST + 2);
			CHECK_EQUAL(info.si_code, SI_USER); /* glibc's name for SI_TKILL */
			CHECK_EQUAL(info.si_pid, getpid());
		}
		for (int j = 0; j < QUEUED; j++) {
			CHECK_EQUAL(sigtimedwait(&set, &info, &none), FIRST + 3);
			CHECK_EQUAL(info.si_value.sival_int, j);
		}
		CHECK_EQUAL(sigtimedwait(&set, &info, &none), -1);
		__atomic_add_fetch(&received_by_thread, 2 * QUEUED, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void queue_for_thread(void)
{
	for (int i = 0; i < QUEUED; i++) {
		union sigval value = {.sival_int = i};
		CHECK_EQUAL(pthread_kill(sleeper, FIRST + 2), 0);
		CHECK_EQUAL(pthread_sigqueue(sleeper, FIRST + 3, value), 0);
	}
}

static void take_one(int number, siginfo_t *info)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	CHECK_EQUAL(sigwaitinfo(&set, info), number);
}

/* Expires once; with two timers of one signal, each is known by its value. */
static timer_t start_timer(int number, int value)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number, .sigev_value.sival_int = value};
	struct itimerspec soon = {.it_value.tv_nsec = 1000000};
	timer_t timer;

	CHECK_EQUAL(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	CHECK_EQUAL(timer_settime(timer, 0, &soon, NULL), 0);
	return timer;
}

static void take_timer(int number, int value, timer_t timer)
{
	siginfo_t info;

	take_one(number, &info);
	CHECK_EQUAL(info.si_code, SI_TIMER);
	CHECK_EQUAL(info.si_value.sival_int, value);
	CHECK_EQUAL(timer_delete(timer), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 30), i;
	sigset_t set;

	sigemptyset(&set);
	for (int number = FIRST; number < FIRST + 6; number++)
		sigaddset(&set, number);
	sigaddset(&set, SIGUSR1);
	CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	CHECK_EQUAL(pthread_barrier_init(&barrier, NULL, 2), 0);
	sleeper = start_thread(sleep_and_take, (void *)rounds);
	for (i = 0; i < rounds; i++) {
		sigset_t first, second;
		sigemptyset(&first);
		sigaddset(&first, FIRST);
		sigemptyset(&second);
		sigaddset(&second, FIRST + 1);
		queue_all(FIRST + 1);
		queue_all(FIRST);
		CHECK_EQUAL(kill(getpid(), SIGUSR1), 0);
		timer_t alone = start_timer(FIRST + 4, 7), one = start_timer(FIRST + 5, 1);
		usleep(3000);
		timer_t other = start_timer(FIRST + 5, 2);
		pthread_barrier_wait(&barrier);
		queue_for_thread();
		usleep(70000); /* checkpoints and kills come here */
		pthread_barrier_wait(&barrier);
		take_all(FIRST, &first);
		take_all(FIRST + 1, &second);
		take_timer(FIRST + 4, 7, alone);
		take_timer(FIRST + 5, 1, one);
		take_timer(FIRST + 5, 2, other);
		siginfo_t info;
		take_one(SIGUSR1, &info);
		CHECK_EQUAL(info.si_code, SI_USER);
		CHECK_EQUAL(info.si_pid, getpid());
		sequence += 2 * QUEUED;
	}
	join_thread(sleeper);
	printf("signal_queue: %ld %ld\n", rounds, received_by_thread);
	return 0;
}
