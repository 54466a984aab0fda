/* Memory barriers that a process must have registered for, as liburcu and some language runtimes do. */
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "victim.h"

static const struct {
	int use, enter;
} commands[] = {
	{MEMBARRIER_CMD_PRIVATE_EXPEDITED, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED},
	{MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
	{MEMBARRIER_CMD_GLOBAL_EXPEDITED, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED},
};
#define COMMANDS 3

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void *keep_busy(void *argument)
{
	while (argument)
		*(volatile uint64_t *)argument = spin(1, 1000);
	return NULL;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 10000), supported = membarrier(MEMBARRIER_CMD_QUERY), i;
	static uint64_t cell;
	uint64_t sum = 0;
	int j;

	for (j = 0; j < COMMANDS; j++) {
		if (supported < 0 || !(supported & commands[j].enter)) {
			printf("the kernel has no expedited memory barriers\n");
			return 77;
		}
		CHECK_EQUAL(membarrier(commands[j].enter), 0);
	}
	start_thread(keep_busy, &cell);
	for (i = 0; i < rounds; i++) {
		for (j = 0; j < COMMANDS; j++)
			CHECK_EQUAL(membarrier(commands[j].use), 0);
		sum = spin(sum + (uint64_t)i, 5000);
	}
	printf("%llx\n", (unsigned long long)sum);
	return 0;
}
