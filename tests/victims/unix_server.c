/* A listening unix socket goes on accepting after a restore, under the same path. */
#include <sys/un.h>

#include "listener.h"

int main(int argc, char **argv)
{
	static struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQUAL(listen(fd, 16), 0);
	run_listener(fd, (struct sockaddr *)&address, sizeof(address), victim_work(argc, argv, 14000));
	CHECK_EQUAL(unlink(address.sun_path), 0);
	return 0;
}
