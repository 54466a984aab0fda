/* The real-time signal that respct stops threads with, used by the program, too: queued with values for the process and
 * for threads, ending blocked calls, with a mask for its handler, its handler for once. */
#include <fcntl.h>
#include <signal.h>

#include "victim.h"

#define SAME (SIGRTMAX - 3)

static volatile sig_atomic_t received, value, code, in_handler, masked, unmasked;
static int ends[2];
static long interrupted; /* calls; atomic */

static void on_same(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK_EQUAL(number, SAME);
	CHECK_EQUAL(info->si_pid, getpid());
	value = info->si_value.sival_int;
	code = info->si_code;
	received++;
}

static void on_same_raising(int number)
{
	sig_atomic_t before = unmasked;

	(void)number;
	in_handler = 1;
	CHECK_EQUAL(raise(SIGUSR1), 0); /* in the mask of this handler: later */
	CHECK_EQUAL(raise(SIGUSR2), 0);
	CHECK_EQUAL(unmasked, before + 1);
	spin(1, 5000);
	in_handler = 0;
}

static void on_masked(int number)
{
	(void)number;
	CHECK_EQUAL(in_handler, 0);
	masked++;
}

static void on_unmasked(int number)
{
	(void)number;
	CHECK_EQUAL(in_handler, 1);
	unmasked++;
}

static void catch (int number, struct sigaction action)
{
	CHECK_EQUAL(sigaction(number, &action, NULL), 0);
}

/* The only thread that runs: what it sends itself has come when the call returns. */
static void send_to_self(long i)
{
	union sigval sent_value = {.sival_int = (int)(2 * i)};

	CHECK_EQUAL(sigqueue(getpid(), SAME, sent_value), 0);
	CHECK_EQUAL(received, 2 * i + 1);
	CHECK_EQUAL(code, SI_QUEUE);
	CHECK_EQUAL(value, 2 * i);
	CHECK_EQUAL(pthread_kill(pthread_self(), SAME), 0);
	CHECK_EQUAL(received, 2 * i + 2);
	CHECK_EQUAL(code, SI_TKILL);
}

static void handle_with_mask(long i)
{
	struct sigaction action = {.sa_handler = on_same_raising}, got;

	sigaddset(&action.sa_mask, SIGUSR1);
	catch (SAME, action);
	CHECK_EQUAL(raise(SAME), 0);
	CHECK_EQUAL(masked, i + 1);
	CHECK_EQUAL(unmasked, i + 1);
	action.sa_handler = on_masked;
	action.sa_flags = SA_RESETHAND;
	catch (SAME, action);
	CHECK_EQUAL(raise(SAME), 0);
	CHECK_EQUAL(--masked, i + 1);
	CHECK_EQUAL(sigaction(SAME, NULL, &got), 0);
	CHECK(got.sa_handler == SIG_DFL);
}

/* Without SA_RESTART the signal ends the call; it may also come before the call, so it is sent until it has. */
static void *be_interrupted(void *argument)
{
	char byte;

	for (long i = 0; i < (long)argument; i++) {
		errno = 0;
		CHECK_EQUAL(read(ends[0], &byte, 1), -1);
		CHECK_EQUAL(errno, EINTR);
		__atomic_add_fetch(&interrupted, 1, __ATOMIC_RELEASE);
	}
	while (read(ends[0], &byte, 1) != 1) /* what was sent too often */
		CHECK_EQUAL(errno, EINTR);
	return NULL;
}

static void interrupt_reader(long rounds)
{
	pthread_t reader;

	CHECK_EQUAL(pipe2(ends, O_CLOEXEC), 0);
	CHECK_EQUAL(pthread_create(&reader, NULL, be_interrupted, (void *)rounds), 0);
	for (long i = 0; i < rounds; i++)
		while (__atomic_load_n(&interrupted, __ATOMIC_ACQUIRE) <= i) {
			union sigval none = {.sival_int = 0};
			struct timespec moment = {0, MILLISECOND / 4};
			CHECK_EQUAL(pthread_sigqueue(reader, SAME, none), 0);
			nanosleep(&moment, NULL);
		}
	CHECK_EQUAL(write(ends[1], "", 1), 1);
	CHECK_EQUAL(pthread_join(reader, NULL), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 50000), i;

	catch (SIGUSR1, (struct sigaction){.sa_handler = on_masked});
	catch (SIGUSR2, (struct sigaction){.sa_handler = on_unmasked});
	for (i = 0; i < rounds; i++) {
		catch (SAME, (struct sigaction){.sa_sigaction = on_same, .sa_flags = SA_SIGINFO});
		send_to_self(i);
		if (i % 16 == 0)
			handle_with_mask(i / 16);
	}
	catch (SAME, (struct sigaction){.sa_sigaction = on_same, .sa_flags = SA_SIGINFO});
	interrupt_reader(rounds / 1000 + 1);
	printf("signal_same: %ld, %ld\n", rounds, rounds / 1000 + 1);
	return 0;
}
