/* What had been received over a unix socket from another process is still readable after a restore. */
#include <sys/un.h>

#include "outside_pending.h"

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "pending.socket"};
	int fd;

	start_pending_child((struct sockaddr *)&address, sizeof(address));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQUAL(listen(fd, 16), 0);
	run_pending(fd, (struct sockaddr *)&address, victim_work(argc, argv, 50));
	return 0;
}
