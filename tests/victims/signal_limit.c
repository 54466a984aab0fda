/* More signals are pending than the process may have since it lowered its limit: none is lost while it lives, and a
 * restored process has one of them. Threads stop at locks, as no signal can be sent to them. */
#include <signal.h>
#include <sys/resource.h>

#include "victim.h"

#define QUEUED 10
#define LIMIT 5
#define NUMBER (SIGRTMIN + 6)

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 60000000), i;
	struct rlimit limit = {LIMIT, LIMIT};
	struct timespec at_once = {0, 0};
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, NUMBER);
	CHECK_EQUAL(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	for (i = 0; i < QUEUED; i++)
		CHECK_EQUAL(sigqueue(getpid(), NUMBER, (union sigval){.sival_int = (int)i}), 0);
	CHECK_EQUAL(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
		CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	}
	for (i = 0; sigtimedwait(&set, &info, &at_once) == NUMBER && info.si_code == SI_QUEUE; i++)
		CHECK_EQUAL(info.si_value.sival_int, i);
	if (i == 0) {
		CHECK_EQUAL(info.si_code, SI_USER);
		CHECK_EQUAL(sigtimedwait(&set, &info, &at_once), -1);
	} else {
		CHECK_EQUAL(i, QUEUED);
	}
	printf("signal_limit: %ld\n", rounds);
	return 0;
}
