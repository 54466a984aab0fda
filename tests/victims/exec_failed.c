/*
 * An exec that fails leaves the program protected as before: checkpoints go on between many of them. Also with
 * a limit of descriptors that has come down to what the program itself needs.
 */
#include <sys/resource.h>

#include "victim.h"

static void lower_the_limit(void)
{
	struct rlimit limit = {.rlim_cur = 64, .rlim_max = 64};

	CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 60), i;
	uint64_t value = 1;

	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(execl("/nonexistent/program", "program", NULL), -1);
		value = spin(value, 1000000);
		usleep(30000);
		if (i == 0)
			lower_the_limit();
	}
	printf("exec_failed: %llu\n", (unsigned long long)value);
	return 0;
}
