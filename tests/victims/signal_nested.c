/* Handlers that are interrupted by handlers, left by siglongjmp(), run once (SA_RESETHAND), run within themselves
 * (SA_NODEFER); and every real-time signal at once, as a program may use them all. */
#include <setjmp.h>
#include <signal.h>

#include "victim.h"

static volatile sig_atomic_t depth, deepest, jumps, resets, realtime[65];
static sigjmp_buf environment;

static void on_outer(int number)
{
	(void)number;
	if (++depth > deepest)
		deepest = depth;
	spin(1, 20000);
	CHECK_EQUAL(raise(SIGUSR2), 0); /* its handler interrupts this one */
	depth--;
}

static void on_inner(int number)
{
	(void)number;
	if (++depth > deepest)
		deepest = depth;
	spin(1, 20000);
	if (depth < 6)
		CHECK_EQUAL(raise(SIGUSR2), 0); /* SA_NODEFER: at once */
	depth--;
}

static void on_jump(int number)
{
	(void)number;
	spin(1, 20000);
	jumps++;
	siglongjmp(environment, 1);
}

static void on_reset(int number)
{
	(void)number;
	resets++;
}

static void on_realtime(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK_EQUAL(info->si_value.sival_int, number * 3);
	realtime[number]++;
}

static void catch (int number, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	CHECK_EQUAL(sigaction(number, &action, NULL), 0);
}

static void catch_all_realtime(void)
{
	struct sigaction action = {.sa_sigaction = on_realtime, .sa_flags = SA_SIGINFO}, got;

	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		CHECK_EQUAL(sigaction(number, &action, NULL), 0);
		CHECK_EQUAL(sigaction(number, NULL, &got), 0);
		CHECK(got.sa_sigaction == on_realtime);
	}
}

static void send_all_realtime(long i)
{
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
		union sigval value = {.sival_int = number * 3};
		CHECK_EQUAL(sigqueue(getpid(), number, value), 0);
		CHECK_EQUAL(realtime[number], i + 1);
	}
}

static void leave_handler(void)
{
	if (sigsetjmp(environment, 1) != 0)
		return;
	raise(SIGHUP);
	CHECK(false);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 500), i;

	catch (SIGUSR1, on_outer, SA_RESTART);
	catch (SIGUSR2, on_inner, SA_NODEFER);
	catch (SIGHUP, on_jump, 0);
	catch_all_realtime();
	for (i = 0; i < rounds; i++) {
		struct sigaction got;
		CHECK_EQUAL(raise(SIGUSR1), 0);
		CHECK_EQUAL(depth, 0);
		leave_handler();
		CHECK_EQUAL(jumps, i + 1);
		catch (SIGWINCH, on_reset, SA_RESETHAND);
		CHECK_EQUAL(raise(SIGWINCH), 0);
		CHECK_EQUAL(sigaction(SIGWINCH, NULL, &got), 0);
		CHECK(got.sa_handler == SIG_DFL);
		CHECK_EQUAL(resets, i + 1);
		send_all_realtime(i);
	}
	CHECK_EQUAL(deepest, 6);
	printf("signal_nested: %ld\n", rounds);
	return 0;
}
