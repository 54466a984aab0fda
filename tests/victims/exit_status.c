/* The exit status, atexit functions and the flush of stdio at exit, of a multithreaded program whose
 * other threads still run. */
#include "victim.h"

static void *run_for_ever(void *argument)
{
	while (argument)
		*(volatile uint64_t *)argument = spin(1, 1000);
	return NULL;
}

static void at_exit(void)
{
	printf("exit_status: bye\n");
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 50), i;
	static uint64_t cell;

	CHECK_EQUAL(atexit(at_exit), 0);
	start_thread(run_for_ever, &cell);
	for (i = 0; i < rounds; i++)
		usleep(20000);
	printf("exit_status: %ld\n", rounds);
	exit(7);
}
