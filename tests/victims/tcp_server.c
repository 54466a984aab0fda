/* A listening TCP socket goes on accepting after a restore, at the same address and port. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "listener.h"

static struct sockaddr_in address = {.sin_family = AF_INET};

/* A port outside the range the kernel hands out, so that nobody gets it between two lives. */
static void bind_somewhere(int fd)
{
	int port = 10000 + (int)(mix((uint64_t)getpid() ^ (uint64_t)clock_ns(CLOCK_REALTIME)) % 20000);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	do {
		address.sin_port = htons((uint16_t)++port);
	} while (bind(fd, (struct sockaddr *)&address, sizeof(address)) && errno == EADDRINUSE);
}

int main(int argc, char **argv)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
	struct sockaddr_in bound;
	socklen_t length = sizeof(bound);

	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	bind_somewhere(fd);
	CHECK_EQUAL(listen(fd, 16), 0);
	run_listener(fd, (struct sockaddr *)&address, sizeof(address), victim_work(argc, argv, 12000));
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&bound, &length), 0);
	CHECK_EQUAL(bound.sin_port, address.sin_port);
	on = 0;
	length = sizeof(on);
	CHECK_EQUAL(getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, &length), 0);
	CHECK_EQUAL(on, 1);
	return 0;
}
