/* Signals between threads: handlers run exactly once per signal, in the thread they were sent to,
 * with the right mask and value; queued real-time signals arrive in order. */
#include "victim.h"

#include <semaphore.h>
#include <signal.h>

#define THREADS 3
#define QUEUED 16
#define QUEUE_SIGNAL (SIGRTMIN + 1)

struct mailbox {
	pthread_t thread;
	volatile sig_atomic_t pings;  /* SIGUSR1 received */
	volatile sig_atomic_t queued; /* QUEUE_SIGNALs received */
	volatile uint64_t queued_sum;
	volatile sig_atomic_t stop;
	bool notify;
};

static struct mailbox mailboxes[THREADS];
static sem_t arrived; /* posted by each handler of a thread that is not the main one */
static __thread struct mailbox *own;
static long rounds;

static void check_mask_in_handler(void)
{
	sigset_t mask;

	CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	CHECK(sigismember(&mask, SIGUSR2) == 1);
	CHECK(sigismember(&mask, SIGUSR1) == 1);
	CHECK(sigismember(&mask, SIGTERM) == 0);
}

static void on_ping(int number)
{
	int saved = errno;

	CHECK_EQUAL(number, SIGUSR1);
	CHECK(own && pthread_equal(pthread_self(), own->thread));
	check_mask_in_handler();
	own->pings++;
	if (own->notify)
		sem_post(&arrived);
	errno = saved;
}

static void on_queued(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK_EQUAL(number, QUEUE_SIGNAL);
	CHECK_EQUAL(info->si_code, SI_QUEUE);
	CHECK_EQUAL(info->si_value.sival_int, own->queued);
	own->queued_sum += mix((uint64_t)info->si_value.sival_int);
	own->queued++;
	sem_post(&arrived);
}

static void install_handlers(void)
{
	struct sigaction ping = {.sa_handler = on_ping, .sa_flags = SA_RESTART};
	struct sigaction queued = {.sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART};

	sigaddset(&ping.sa_mask, SIGUSR2);
	CHECK_EQUAL(sigaction(SIGUSR1, &ping, NULL), 0);
	CHECK_EQUAL(sigaction(QUEUE_SIGNAL, &queued, NULL), 0);
}

static void check_own_handlers(void)
{
	struct sigaction action;

	CHECK_EQUAL(sigaction(SIGUSR1, NULL, &action), 0);
	CHECK(action.sa_handler == on_ping && (action.sa_flags & SA_RESTART));
	CHECK(sigismember(&action.sa_mask, SIGUSR2) == 1);
	CHECK_EQUAL(sigaction(SIGUSR2, NULL, &action), 0);
	CHECK(action.sa_handler == SIG_DFL);
}

/* One thread computes, one makes system calls all the time, one is mostly asleep. */
static void pass_time(int kind)
{
	struct timespec moment = {0, 200000};

	if (kind == 0)
		spin(1, 1000);
	else if (kind == 1)
		check_own_handlers();
	else
		CHECK(nanosleep(&moment, NULL) == 0 || errno == EINTR);
}

static void wait_for(int signals)
{
	for (; signals > 0; signals--)
		while (sem_wait(&arrived) < 0)
			CHECK_EQUAL(errno, EINTR);
}

static void *receiver(void *argument)
{
	struct mailbox *self = argument;

	own = self;
	self->notify = true;
	self->thread = pthread_self();
	sem_post(&arrived);
	while (!self->stop)
		pass_time((int)(self - mailboxes));
	return NULL;
}

/* Sends one ping and waits until it has arrived: none may be lost or doubled. */
static void ping(struct mailbox *to, long count)
{
	CHECK_EQUAL(to->pings, count);
	CHECK_EQUAL(pthread_kill(to->thread, SIGUSR1), 0);
	wait_for(1);
	CHECK_EQUAL(to->pings, count + 1);
}

static void send_queue(struct mailbox *to)
{
	int before = to->queued, i;

	for (i = 0; i < QUEUED; i++) {
		union sigval value = {.sival_int = before + i};

		CHECK_EQUAL(pthread_sigqueue(to->thread, QUEUE_SIGNAL, value), 0);
	}
	wait_for(QUEUED);
	CHECK_EQUAL(to->queued, before + QUEUED);
}

/* raise() returns after the handler has run. */
static void raise_one(struct mailbox *self)
{
	int before = self->pings;

	CHECK_EQUAL(raise(SIGUSR1), 0);
	CHECK_EQUAL(self->pings, before + 1);
}

/* A blocked signal stays pending until it is unblocked, then runs at once. */
static void block_and_unblock(struct mailbox *self)
{
	int before = self->pings;
	sigset_t set, old, pending;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &set, &old), 0);
	CHECK_EQUAL(raise(SIGUSR1), 0);
	CHECK_EQUAL(self->pings, before);
	sigpending(&pending);
	CHECK(sigismember(&pending, SIGUSR1) == 1);
	CHECK_EQUAL(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
	CHECK_EQUAL(self->pings, before + 1);
}

int main(int argc, char **argv)
{
	static struct mailbox self;
	uint64_t sum = 0;
	long i;
	int t;

	rounds = victim_work(argc, argv, 300);
	CHECK_EQUAL(sem_init(&arrived, 0, 0), 0);
	install_handlers();
	own = &self;
	self.thread = pthread_self();
	for (t = 0; t < THREADS; t++)
		start_thread(receiver, &mailboxes[t]);
	wait_for(THREADS);
	for (i = 0; i < rounds; i++) {
		for (t = 0; t < THREADS; t++)
			ping(&mailboxes[t], i);
		if (i % 8 == 0)
			send_queue(&mailboxes[i / 8 % THREADS]);
		raise_one(&self);
		block_and_unblock(&self);
		spin(1, 100000);
	}
	for (t = 0; t < THREADS; t++) {
		mailboxes[t].stop = 1;
		join_thread(mailboxes[t].thread);
		CHECK_EQUAL(mailboxes[t].pings, rounds);
		sum += mix((uint64_t)mailboxes[t].queued) + mailboxes[t].queued_sum;
	}
	CHECK_EQUAL(self.pings, 2 * rounds);
	printf("signals: %llu\n", (unsigned long long)sum);
	return 0;
}
