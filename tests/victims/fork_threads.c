/* Children made while other threads are being created and joined: whatever those were at, a child can have threads. */
#include <sys/wait.h>

#include "victim.h"

#define CHURNERS 2
#define PATIENCE_S 20 /* a child that needs longer hangs */

static volatile bool over;

static void *add_one(void *number)
{
	return (void *)((uintptr_t)number + 1);
}

/* Of ever other sizes, so that stacks are mapped and unmapped. */
static void *churn(void *argument)
{
	uint64_t state = (uintptr_t)argument;
	pthread_attr_t attributes;
	pthread_t thread;

	CHECK_EQUAL(pthread_attr_init(&attributes), 0);
	while (!over) {
		CHECK_EQUAL(pthread_attr_setstacksize(&attributes, (16 + next_random(&state) % 64) * 4 * PAGE), 0);
		CHECK_EQUAL(pthread_create(&thread, &attributes, add_one, NULL), 0);
		CHECK_EQUAL((uintptr_t)join_thread(thread), 1);
	}
	CHECK_EQUAL(pthread_attr_destroy(&attributes), 0);
	return NULL;
}

static void be_child(long number)
{
	alarm(PATIENCE_S);
	CHECK_EQUAL((uintptr_t)join_thread(start_thread(add_one, (void *)number)), number + 1);
	_exit(0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 400), i;
	pthread_t churners[CHURNERS];

	for (i = 0; i < CHURNERS; i++)
		churners[i] = start_thread(churn, (void *)i);
	for (i = 0; i < rounds; i++) {
		pid_t child = fork();
		int status;

		CHECK(child >= 0);
		if (child == 0)
			be_child(i);
		CHECK_EQUAL(waitpid(child, &status, 0), child);
		/* The other: it ran at the kill. */
		CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
		      (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
	}
	over = true;
	for (i = 0; i < CHURNERS; i++)
		join_thread(churners[i]);
	printf("fork_threads: %ld\n", rounds);
	return 0;
}
