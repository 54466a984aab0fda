/* TCP connections of the program with itself stay connected, under their addresses, with every byte
 * that was under way in either direction, also when one direction is closed. */
#include "inside.h"

static struct sockaddr_in address = {.sin_family = AF_INET};
static struct sockaddr_in6 address6 = {.sin6_family = AF_INET6};

static int listen_on(struct sockaddr *name, socklen_t length)
{
	int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return -1;
	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	if (bind(fd, name, length)) {
		close(fd);
		return -1;
	}
	CHECK_EQUAL(listen(fd, 16), 0);
	CHECK_EQUAL(getsockname(fd, name, &length), 0);
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {[10] = 255, 255, 127, 0, 0, 1}};
	struct inside_connection parked;
	int fd, fd6, port;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address6.sin6_addr = in6addr_loopback;
	fd = listen_on((struct sockaddr *)&address, sizeof(address));
	fd6 = listen_on((struct sockaddr *)&address6, sizeof(address6));
	CHECK(fd >= 0);
	/* Ports that the kernel does not hand out. */
	port = 10000 + (int)(mix((uint64_t)getpid() ^ (uint64_t)clock_ns(CLOCK_REALTIME)) % 20000);
	parked = *inside_connect(fd, AF_INET, SOCK_STREAM, &address, sizeof(address), port);
	inside_park(&parked);
	inside_count = 0;
	inside_connect(fd, AF_INET, SOCK_STREAM, &address, sizeof(address), 0);
	if (fd6 >= 0) {
		mapped.sin6_port = address.sin_port;
		inside_connect(fd6, AF_INET6, SOCK_STREAM, &address6, sizeof(address6), 0);
		inside_connect(fd, AF_INET6, SOCK_STREAM, &mapped, sizeof(mapped), 0)->mapped = true;
		close(fd6); /* the connection does not need it */
	}
	run_inside(victim_work(argc, argv, 40000000));
	inside_unpark(&parked);
	return 0;
}
