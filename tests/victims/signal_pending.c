/* Signals that are pending at a checkpoint (blocked, sent to a thread or to the process, queued with
 * values) are still pending after the restore: each arrives once, in order. */
#include <signal.h>

#include "victim.h"

#define QUEUED 20
#define QUEUE_SIGNAL (SIGRTMIN + 4)

static volatile sig_atomic_t to_process, queued;
static volatile uint64_t queued_sum;

static void on_process_signal(int number)
{
	(void)number;
	to_process++;
}

static void on_queued(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	CHECK_EQUAL(info->si_value.sival_int, queued % QUEUED);
	queued_sum += mix((uint64_t)info->si_value.sival_int);
	queued++;
}

static void send_all(void)
{
	int i;

	CHECK_EQUAL(kill(getpid(), SIGUSR2), 0);
	for (i = 0; i < QUEUED; i++) {
		union sigval value = {.sival_int = i};

		CHECK_EQUAL(pthread_sigqueue(pthread_self(), QUEUE_SIGNAL, value), 0);
	}
}

int main(int argc, char **argv)
{
	struct sigaction process_action = {.sa_handler = on_process_signal};
	struct sigaction queued_action = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO};
	long rounds = victim_work(argc, argv, 30), i;
	sigset_t set;

	CHECK_EQUAL(sigaction(SIGUSR2, &process_action, NULL), 0);
	CHECK_EQUAL(sigaction(QUEUE_SIGNAL, &queued_action, NULL), 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, QUEUE_SIGNAL);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(sigprocmask(SIG_BLOCK, &set, NULL), 0);
		send_all();
		usleep(100000); /* checkpoints and kills come here */
		CHECK_EQUAL(to_process, i);
		CHECK_EQUAL(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
		CHECK_EQUAL(to_process, i + 1);
		CHECK_EQUAL(queued, (i + 1) * QUEUED);
	}
	printf("signal_pending: %llu\n", (unsigned long long)queued_sum);
	return 0;
}
