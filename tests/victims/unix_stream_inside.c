/* Unix connections of the program with itself, made by connect() and accept(), stay connected under
 * their names, with all that was under way; streams and packets. */
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "inside.h"

static int listen_on(const struct sockaddr_un *name, socklen_t length, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0);
	CHECK_EQUAL(bind(fd, (const struct sockaddr *)name, length), 0);
	CHECK_EQUAL(listen(fd, 16), 0);
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "inside.socket"};
	struct sockaddr_un packets = {.sun_family = AF_UNIX, .sun_path = "packets.socket"};
	struct sockaddr_un hidden = {.sun_family = AF_UNIX};
	struct inside_connection parked;
	socklen_t length = (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1 +
			   (socklen_t)sprintf(hidden.sun_path + 1, "inside-%d-%llx", getpid(),
					      (unsigned long long)clock_ns(CLOCK_REALTIME));
	int fd = listen_on(&path, sizeof(path), SOCK_STREAM);
	int fd_packets = listen_on(&packets, sizeof(packets), SOCK_SEQPACKET);
	int fd_hidden = listen_on(&hidden, length, SOCK_STREAM);

	parked = *inside_connect(fd, AF_UNIX, SOCK_STREAM, &path, sizeof(path), 0);
	inside_park(&parked);
	inside_count = 0;
	inside_connect(fd, AF_UNIX, SOCK_STREAM, &path, sizeof(path), 0);
	inside_connect(fd_packets, AF_UNIX, SOCK_SEQPACKET, &packets, sizeof(packets), 0);
	inside_connect(fd_hidden, AF_UNIX, SOCK_STREAM, &hidden, length, 0);
	run_inside(victim_work(argc, argv, 16000000));
	inside_unpark(&parked);
	return 0;
}
