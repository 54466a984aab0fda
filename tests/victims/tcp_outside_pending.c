/* What had been received over TCP from another process is still readable after a restore. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "outside_pending.h"

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int on = 1, fd;

	/* A port that the kernel does not hand out. */
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port =
		htons((uint16_t)(10000 + mix((uint64_t)getpid() ^ (uint64_t)clock_ns(CLOCK_REALTIME)) % 20000));
	start_pending_child((struct sockaddr *)&address, sizeof(address));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQUAL(listen(fd, 16), 0);
	run_pending(fd, (struct sockaddr *)&address, victim_work(argc, argv, 50));
	return 0;
}
