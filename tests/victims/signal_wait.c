/* Threads that wait for signals: sigwait, sigwaitinfo, sigtimedwait, sigsuspend, signalfd.
 * Each signal wakes its waiter once; timeouts expire and not early; full sets are left usable. */
#include <signal.h>
#include <sys/signalfd.h>

#include "victim.h"

#define WAITERS 5
#define SIGNAL_OF(waiter) (SIGRTMIN + 2 + (waiter))

static pthread_t threads[WAITERS];
static long handled[WAITERS]; /* atomic: signals each waiter has had */
static long rounds;

static void acknowledge(int waiter)
{
	__atomic_add_fetch(&handled[waiter], 1, __ATOMIC_RELEASE);
}

/* Waits for all signals there are, as daemons do; ours must come and nothing else. */
static void *wait_for_any(void *argument)
{
	int number;
	sigset_t all;
	long i;

	(void)argument;
	sigfillset(&all);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(sigwait(&all, &number), 0);
		CHECK_EQUAL(number, SIGNAL_OF(0));
		acknowledge(0);
	}
	return NULL;
}

static void *wait_for_info(void *argument)
{
	siginfo_t info;
	sigset_t set;
	long i;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGNAL_OF(1));
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(sigwaitinfo(&set, &info), SIGNAL_OF(1));
		CHECK_EQUAL(info.si_value.sival_int, i);
		acknowledge(1);
	}
	return NULL;
}

static void *wait_with_timeout(void *argument)
{
	struct timespec timeout = to_timespec(4 * MILLISECOND);
	sigset_t set;
	long i = 0;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGNAL_OF(2));
	while (i < rounds) {
		int64_t started = now_ns();
		int result = sigtimedwait(&set, NULL, &timeout);

		if (result < 0) {
			CHECK_EQUAL(errno, EAGAIN);
			CHECK(now_ns() - started >= 4 * MILLISECOND);
			continue;
		}
		CHECK_EQUAL(result, SIGNAL_OF(2));
		acknowledge(2);
		i++;
	}
	return NULL;
}

static void on_signal(int number)
{
	acknowledge(number - SIGNAL_OF(0));
}

/* The signal is blocked but during sigsuspend(), which returns once per signal. */
static void *suspend(void *argument)
{
	sigset_t mask;
	long i;

	(void)argument;
	sigfillset(&mask);
	sigdelset(&mask, SIGNAL_OF(3));
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(__atomic_load_n(&handled[3], __ATOMIC_ACQUIRE), i);
		errno = 0;
		CHECK_EQUAL(sigsuspend(&mask), -1);
		CHECK_EQUAL(errno, EINTR);
	}
	return NULL;
}

static void *read_signalfd(void *argument)
{
	struct signalfd_siginfo info;
	sigset_t set;
	long i;
	int fd;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGNAL_OF(4));
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	CHECK(fd >= 0);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(read(fd, &info, sizeof(info)), sizeof(info));
		CHECK_EQUAL(info.ssi_signo, SIGNAL_OF(4));
		CHECK_EQUAL(info.ssi_int, i);
		acknowledge(4);
	}
	return NULL;
}

static void send_round(long round)
{
	union sigval value = {.sival_int = (int)round};
	int i;

	for (i = 0; i < WAITERS; i++)
		CHECK_EQUAL(pthread_sigqueue(threads[i], SIGNAL_OF(i), value), 0);
	for (i = 0; i < WAITERS; i++)
		while (__atomic_load_n(&handled[i], __ATOMIC_ACQUIRE) <= round)
			usleep(50);
}

int main(int argc, char **argv)
{
	static void *(*const functions[WAITERS])(void *) = {wait_for_any, wait_for_info, wait_with_timeout, suspend,
							    read_signalfd};
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t all;
	long round;
	int i;

	rounds = victim_work(argc, argv, 4000);
	sigfillset(&all);
	CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
	CHECK_EQUAL(sigaction(SIGNAL_OF(3), &action, NULL), 0);
	for (i = 0; i < WAITERS; i++)
		threads[i] = start_thread(functions[i], NULL);
	for (round = 0; round < rounds; round++) {
		send_round(round);
		if (round % 64 == 0)
			usleep(20000);
	}
	for (i = 0; i < WAITERS; i++)
		join_thread(threads[i]);
	printf("signal_wait: %ld rounds\n", rounds);
	return 0;
}
