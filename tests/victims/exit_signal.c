/* A program that ends by a signal of its own ends by the same signal when it has been restored. */
#include <signal.h>

#include "victim.h"

static void *run_for_ever(void *argument)
{
	while (argument)
		*(volatile uint64_t *)argument = spin(1, 1000);
	return NULL;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 50), i;
	static uint64_t cell;

	start_thread(run_for_ever, &cell);
	for (i = 0; i < rounds; i++)
		usleep(20000);
	printf("exit_signal: %ld\n", rounds);
	fflush(stdout);
	raise(SIGTERM);
	return 1;
}
