/* Signals that are blocked and pending, for the process and for one thread, come once, after a restore too. */
#include <signal.h>

#include "victim.h"

static volatile sig_atomic_t to_process, to_thread;

static void on_process_signal(int number)
{
	(void)number;
	to_process++;
}

static void on_thread_signal(int number)
{
	(void)number;
	to_thread++;
}

static void *stand_by(void *argument)
{
	/* Created with all signals blocked: neither signal may be taken for one of this thread. */
	for (;;)
		pause();
	return argument;
}

static void send_all(void)
{
	CHECK_EQUAL(kill(getpid(), SIGUSR2), 0);
	CHECK_EQUAL(pthread_kill(pthread_self(), SIGUSR1), 0);
}

int main(int argc, char **argv)
{
	struct sigaction process_action = {.sa_handler = on_process_signal};
	struct sigaction thread_action = {.sa_handler = on_thread_signal};
	long rounds = victim_work(argc, argv, 30), i;
	sigset_t set, none;

	CHECK_EQUAL(sigaction(SIGUSR2, &process_action, NULL), 0);
	CHECK_EQUAL(sigaction(SIGUSR1, &thread_action, NULL), 0);
	sigfillset(&set);
	CHECK_EQUAL(sigprocmask(SIG_SETMASK, &set, &none), 0);
	start_thread(stand_by, NULL);
	CHECK_EQUAL(sigprocmask(SIG_SETMASK, &none, NULL), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGUSR1);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(sigprocmask(SIG_BLOCK, &set, NULL), 0);
		send_all();
		usleep(100000); /* checkpoints and kills come here */
		CHECK_EQUAL(to_process, i);
		CHECK_EQUAL(to_thread, i);
		CHECK_EQUAL(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
		CHECK_EQUAL(to_process, i + 1);
		CHECK_EQUAL(to_thread, i + 1);
	}
	printf("signal_pending: %ld\n", rounds);
	return 0;
}
