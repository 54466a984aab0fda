/* An exec that fails leaves the program protected as before: checkpoints go on between many of them. */
#include "victim.h"

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 60), i;
	uint64_t value = 1;

	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(execl("/nonexistent/program", "program", NULL), -1);
		value = spin(value, 1000000);
		usleep(30000);
	}
	printf("exec_failed: %llu\n", (unsigned long long)value);
	return 0;
}
