/* A process of one thread may enter a user namespace of its own, and is protected there. */
#include "victim.h"

#include <errno.h>
#include <sched.h>

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 60), i;
	uint64_t value = 1;

	if (unshare(CLONE_NEWUSER)) {
		if (errno == EPERM || errno == ENOSPC)
			return 77;
		CHECK_EQUAL(errno, 0);
	}
	for (i = 0; i < rounds; i++) {
		value = spin(value, 1000000);
		usleep(30000);
	}
	printf("namespace_own: %llu\n", (unsigned long long)value);
	return 0;
}
