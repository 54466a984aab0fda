/* What had been received over TCP from another process is still readable after a restore. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "outside_pending.h"

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQUAL(listen(fd, 16), 0);
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	run_pending(fd, (struct sockaddr *)&address, sizeof(address), victim_work(argc, argv, 50));
	return 0;
}
