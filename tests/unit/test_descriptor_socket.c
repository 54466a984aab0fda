/* Sockets and socket pairs: runtime/descriptor/socket.c, descriptor_pair.c and their restore. */
#include "descriptor_harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

TestSuite(descriptor_socket, .init = open_scene, .fini = close_scene);

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct sockaddr_in6 loopback6(int port)
{
	return (struct sockaddr_in6){
		.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = in6addr_loopback};
}

static struct sockaddr_un unix_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

#define ADDRESS(address) (struct sockaddr *)&(address), sizeof(address)

static int get_int(int fd, int level, int option)
{
	int value = -1;
	socklen_t length = sizeof(value);
	CHECK(getsockopt(fd, level, option, &value, &length) == 0);
	return value;
}

static void set_int(int fd, int level, int option, int value)
{
	CHECK(setsockopt(fd, level, option, &value, sizeof(value)) == 0);
}

/* A connection to `address` is accepted by `listener` and carries data. */
static void check_accepts(int listener, const struct sockaddr *address, socklen_t length)
{
	int client = socket(address->sa_family, SOCK_STREAM, 0);
	CHECK(client >= 0 && connect(client, address, length) == 0);
	CHECK(write(client, "hello", 5) == 5);
	int server = accept(listener, NULL, NULL);
	CHECK(server >= 0 && reads(server, "hello"));
	close(client);
	close(server);
}

/* ---- listening ---- */

static int port, port6; /* found free once, the same in all processes of a test */

static int free_port(void)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind(fd, ADDRESS(address)), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void listen_at(int number, int family, struct sockaddr *address, socklen_t length)
{
	put_at(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), number);
	if (family != AF_UNIX)
		set_int(number, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK(bind(number, address, length) == 0 && listen(number, 37) == 0);
}

static void open_listening(void)
{
	struct sockaddr_in address = loopback(port);
	struct sockaddr_in6 address6 = loopback6(port6);
	struct timeval timeout = {3, 0};
	listen_at(10, AF_INET, ADDRESS(address));
	set_int(10, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(10, SOL_SOCKET, SO_RCVBUF, 50000);
	CHECK(setsockopt(10, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0);
	put_at(socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), 11);
	set_int(11, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	set_int(11, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK(bind(11, ADDRESS(address6)) == 0 && listen(11, 5) == 0);
	put_at(socket(AF_INET, SOCK_STREAM, 0), 12); /* neither bound nor connected */
	set_int(12, SOL_SOCKET, SO_KEEPALIVE, 1);
}

static void check_listening(void)
{
	struct sockaddr_in address = loopback(port);
	struct sockaddr_in6 address6 = loopback6(port6);
	struct tcp_info info;
	socklen_t length = sizeof(info);
	check_accepts(10, ADDRESS(address));
	CHECK(get_int(10, SOL_SOCKET, SO_REUSEADDR) == 1 && get_int(10, IPPROTO_TCP, TCP_NODELAY) == 1);
	CHECK(get_int(10, SOL_SOCKET, SO_RCVBUF) == 100000);
	CHECK(getsockopt(10, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_sacked == 37);
	struct timeval timeout;
	length = sizeof(timeout);
	CHECK(getsockopt(10, SOL_SOCKET, SO_RCVTIMEO, &timeout, &length) == 0 && timeout.tv_sec == 3);
	CHECK(accept(11, NULL, NULL) == -1 && errno == EAGAIN);
	CHECK(get_int(11, IPPROTO_IPV6, IPV6_V6ONLY) == 1);
	check_accepts(11, ADDRESS(address6));
	CHECK(get_int(12, SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(connect(12, ADDRESS(address)) == 0);
}

static bool has_ipv6(void)
{
	struct sockaddr_in6 address = loopback6(0);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool has = fd >= 0 && bind(fd, ADDRESS(address)) == 0;
	close(fd);
	return has;
}

Test(descriptor_socket, listening_sockets_accept)
{
	if (!has_ipv6())
		cr_skip_test("no IPv6 loopback");
	port = free_port();
	port6 = free_port();
	check_kept(open_listening, check_listening);
}

Test(descriptor_socket, an_address_in_use_is_named)
{
	char text[64];
	port = free_port();
	port6 = free_port();
	capture_in_process(open_listening, NULL);
	struct sockaddr_in address = loopback(port);
	int other = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert(bind(other, ADDRESS(address)) == 0 && listen(other, 1) == 0);
	snprintf(text, sizeof(text), "cannot bind 127.0.0.1:%d", port);
	check_refused(text);
	close(other);
}

static void open_unix(void)
{
	struct sockaddr_un address = unix_path("socket"), gone = unix_path("gone");
	struct sockaddr_un hidden = {.sun_family = AF_UNIX};
	unlink("socket");
	listen_at(10, AF_UNIX, ADDRESS(address));
	CHECK(chmod("socket", 0640) == 0);
	snprintf(hidden.sun_path + 1, sizeof(hidden.sun_path) - 1, "respct-test-%s", folder);
	listen_at(11, AF_UNIX, ADDRESS(hidden));
	listen_at(12, AF_UNIX, ADDRESS(gone));
	CHECK(unlink("gone") == 0);
}

static void check_unix(void)
{
	struct sockaddr_un address = unix_path("socket");
	struct sockaddr_un hidden = {.sun_family = AF_UNIX};
	struct stat status;
	snprintf(hidden.sun_path + 1, sizeof(hidden.sun_path) - 1, "respct-test-%s", folder);
	check_accepts(10, ADDRESS(address));
	check_accepts(11, ADDRESS(hidden));
	CHECK(stat("socket", &status) == 0 && (status.st_mode & 07777) == 0640);
	CHECK(get_int(12, SOL_SOCKET, SO_ACCEPTCONN) == 1 && access("gone", F_OK) == -1);
}

Test(descriptor_socket, unix_sockets_accept_at_their_path)
{
	check_kept(open_unix, check_unix);
}

Test(descriptor_socket, a_unix_path_in_use_is_named)
{
	capture_in_process(open_unix, NULL);
	struct sockaddr_un address = unix_path("socket");
	unlink("socket");
	int other = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert(bind(other, ADDRESS(address)) == 0 && listen(other, 1) == 0);
	check_refused("cannot bind socket, where the program was listening: another process uses it");
	close(other);
	unlink("socket");
	cr_assert_geq(open("socket", O_CREAT | O_WRONLY, 0600), 0);
	check_refused("a file that is not a socket");
}

/* ---- datagrams ---- */

static void open_datagrams(void)
{
	struct sockaddr_in address = loopback(port), peer = loopback(port6);
	struct sockaddr_un path = unix_path("datagrams");
	unlink("datagrams");
	put_at(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), 10);
	set_int(10, SOL_SOCKET, SO_BROADCAST, 1);
	CHECK(bind(10, ADDRESS(address)) == 0);
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 11);
	CHECK(bind(11, ADDRESS(peer)) == 0);
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 12);
	CHECK(connect(12, ADDRESS(peer)) == 0);
	put_at(socket(AF_UNIX, SOCK_DGRAM, 0), 13);
	CHECK(bind(13, ADDRESS(path)) == 0);
	put_at(socket(AF_UNIX, SOCK_DGRAM, 0), 14);
	CHECK(connect(14, ADDRESS(path)) == 0);
	put_at(socket(AF_NETLINK, SOCK_RAW, 0), 15);
}

static void check_datagrams(void)
{
	struct sockaddr_in address = loopback(port);
	CHECK(get_int(10, SOL_SOCKET, SO_BROADCAST) == 1 && (fcntl(10, F_GETFL) & O_NONBLOCK));
	CHECK(sendto(11, "a", 1, 0, ADDRESS(address)) == 1 && reads(10, "a"));
	CHECK(send(12, "b", 1, 0) == 1 && reads(11, "b"));
	CHECK(send(14, "c", 1, 0) == 1 && reads(13, "c"));
	CHECK(get_int(15, SOL_SOCKET, SO_DOMAIN) == AF_NETLINK);
}

Test(descriptor_socket, datagram_sockets_are_bound_and_connected)
{
	port = free_port();
	port6 = free_port();
	check_kept(open_datagrams, check_datagrams);
}

/* ---- pairs ---- */

static void make_pair(int type, int first)
{
	struct stat a, b;
	int ends[2];
	CHECK(socketpair(AF_UNIX, type, 0, ends) == 0);
	CHECK(fstat(ends[0], &a) == 0 && fstat(ends[1], &b) == 0);
	rt_descriptors_note_pair(a.st_ino, b.st_ino);
	put_at(ends[0], first);
	put_at(ends[1], first + 1);
}

static void open_pairs(void)
{
	make_pair(SOCK_STREAM | SOCK_NONBLOCK, 10);
	CHECK(write(10, "to eleven", 9) == 9 && write(11, "to ten", 6) == 6);
	make_pair(SOCK_DGRAM, 12);
	CHECK(write(12, "one", 3) == 3 && write(12, "three", 5) == 5);
	make_pair(SOCK_SEQPACKET, 14);
	CHECK(write(14, "four", 4) == 4 && write(14, "five5", 5) == 5);
	make_pair(SOCK_STREAM, 16);
	CHECK(write(16, "last words", 10) == 10 && shutdown(16, SHUT_WR) == 0);
	make_pair(SOCK_STREAM, 18);
	CHECK(write(18, "from the dead", 13) == 13 && close(18) == 0);
	CHECK(dup2(10, 20) == 20);
}

static void check_pairs(void)
{
	char byte;
	int old = get_int(11, SOL_SOCKET, SO_PEEK_OFF);
	CHECK(old == -1 && (fcntl(10, F_GETFL) & O_NONBLOCK) && !(fcntl(12, F_GETFL) & O_NONBLOCK));
	CHECK(reads(11, "to eleven") && reads(20, "to ten"));
	CHECK(read(10, &byte, 1) == -1 && errno == EAGAIN);
	CHECK(write(20, "x", 1) == 1 && reads(11, "x"));
	CHECK(reads(13, "one") && reads(13, "three"));
	CHECK(reads(15, "four") && reads(15, "five5"));
	CHECK(reads(17, "last words") && read(17, &byte, 1) == 0);
	CHECK(write(17, "y", 1) == 1 && reads(16, "y"));
	CHECK(reads(19, "from the dead") && read(19, &byte, 1) == 0);
	CHECK(close(10) == 0 && close(20) == 0 && read(11, &byte, 1) == 0);
}

Test(descriptor_socket, pairs_keep_what_was_unread)
{
	check_kept(open_pairs, check_pairs);
}

static void fill_pair(void)
{
	char block[3000];
	make_pair(SOCK_STREAM | SOCK_NONBLOCK, 10);
	make_pair(SOCK_DGRAM | SOCK_NONBLOCK, 12);
	memset(block, 'z', sizeof(block));
	while (write(10, block, sizeof(block)) > 0)
		continue;
	while (write(12, block, 1) > 0)
		continue;
	CHECK(errno == EAGAIN);
}

static void drain_pair(void)
{
	char block[3000];
	size_t total = 0, messages = 0;
	for (ssize_t part; (part = read(11, block, sizeof(block))) > 0;)
		total += (size_t)part;
	while (read(13, block, sizeof(block)) == 1)
		messages++;
	CHECK(total > 100000 && messages > 100);
}

Test(descriptor_socket, full_pairs_fit_again)
{
	check_kept(fill_pair, drain_pair);
}

/* The pairs that are in use stay known when many others have come and gone. */
static void make_many_pairs(void)
{
	make_pair(SOCK_STREAM, 10);
	CHECK(write(10, "kept", 4) == 4);
	struct descriptor_table *table = open_table();
	for (int i = 0; i < 3000; i++) {
		make_pair(SOCK_STREAM, 30);
		close(30);
		close(31);
		if (i % 100 == 0)
			CHECK(rt_descriptors_prepare(table) == 0);
	}
	close_range(HIDDEN_FROM, ~0U, 0);
}

static void check_many_pairs(void)
{
	CHECK(reads(11, "kept"));
}

Test(descriptor_socket, a_pair_in_use_is_not_forgotten)
{
	check_kept(make_many_pairs, check_many_pairs);
}

/* ---- connections to the outside ---- */

static void open_connections(void)
{
	struct sockaddr_in address = loopback(port);
	struct sockaddr_in6 address6 = loopback6(port6);
	struct sockaddr_un path = unix_path("socket");
	int ends[2];
	unlink("socket");
	listen_at(HIDDEN_FROM + 10, AF_INET, ADDRESS(address));
	listen_at(HIDDEN_FROM + 11, AF_INET6, ADDRESS(address6));
	listen_at(HIDDEN_FROM + 12, AF_UNIX, ADDRESS(path));
	put_at(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), 10);
	CHECK(connect(10, ADDRESS(address)) == -1 && errno == EINPROGRESS);
	put_at(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), 11);
	CHECK(connect(11, ADDRESS(address6)) == 0);
	put_at(socket(AF_UNIX, SOCK_STREAM, 0), 12);
	CHECK(connect(12, ADDRESS(path)) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
	put_at(ends[0], 13);
	put_at(ends[1], HIDDEN_FROM + 13);
	put_at(socket(AF_INET, SOCK_STREAM, 0), 14); /* refused, and so over */
	struct sockaddr_in nobody = loopback(1);
	CHECK(connect(14, ADDRESS(nobody)) == -1);
	put_at(socket(AF_UNIX, SOCK_STREAM, 0), 2);
	CHECK(connect(2, ADDRESS(path)) == 0);
}

static void check_connections(void)
{
	char byte;
	int family[] = {AF_INET, AF_INET6, AF_UNIX};
	signal(SIGPIPE, SIG_IGN);
	CHECK((fcntl(10, F_GETFL) & O_NONBLOCK) && fcntl(11, F_GETFD) == FD_CLOEXEC);
	for (int fd = 10; fd <= 12; fd++) {
		struct pollfd entry = {.fd = fd, .events = POLLIN | POLLRDHUP};
		CHECK(poll(&entry, 1, 1000) == 1 && (entry.revents & POLLRDHUP));
		CHECK(get_int(fd, SOL_SOCKET, SO_DOMAIN) == family[fd - 10]);
		CHECK(read(fd, &byte, 1) == 0);
		while (write(fd, "x", 1) == 1)
			usleep(1000);
		CHECK(errno == EPIPE || errno == ECONNRESET);
	}
	CHECK(write(13, "x", 1) == -1 && errno == ECONNREFUSED);
	CHECK(fcntl(2, F_GETFD) == 0 && write(2, "", 0) == 0);
}

Test(descriptor_socket, connections_to_the_outside_are_closed)
{
	if (!has_ipv6())
		cr_skip_test("no IPv6 loopback");
	port = free_port();
	port6 = free_port();
	check_changed(open_connections, check_connections);
}

/* ---- what fstat() does not show ---- */

static void connect_late(void *argument)
{
	static struct manifest_writer writer;
	struct sockaddr_in address = loopback(port);
	(void)argument;
	close_range(3, ~0U, 0);
	put_at(socket(AF_INET, SOCK_STREAM, 0), 10);
	put_at(socket(AF_INET, SOCK_STREAM, 0), 11);
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 12);
	struct descriptor_table *table = open_table();
	CHECK(rt_descriptors_prepare(table) == 0);
	set_int(10, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK(bind(10, ADDRESS(address)) == 0 && listen(10, 5) == 0);
	CHECK(connect(11, ADDRESS(address)) == 0);
	CHECK(bind(12, ADDRESS(address)) == 0);
	CHECK(rt_descriptors_capture(table, &writer) == 0);
	keep_manifest(&writer);
}

static void check_late(void)
{
	struct sockaddr_in address = loopback(port);
	int waiting = accept(10, NULL, NULL);
	CHECK(waiting >= 0 && write(11, "k", 1) == 1 && reads(waiting, "k"));
	check_accepts(10, ADDRESS(address));
	CHECK(sendto(12, "m", 1, 0, ADDRESS(address)) == 1 && reads(12, "m"));
}

Test(descriptor_socket, what_a_socket_becomes_after_prepare_is_seen)
{
	port = free_port();
	in_process(connect_late, NULL);
	restore_in_process(check_late);
}

/* ---- connections within the process ---- */

static void connect_to(int number, int family, struct sockaddr *address, socklen_t length)
{
	put_at(socket(family, SOCK_STREAM, 0), number);
	CHECK(connect(number, address, length) == 0);
}

static struct sockaddr_in client_name; /* of the TCP client, in the process that prepared */

static void open_inside(void)
{
	struct sockaddr_in address = loopback(port), own = loopback(port6);
	struct sockaddr_un path = unix_path("socket");
	unlink("socket");
	listen_at(10, AF_INET, ADDRESS(address));
	put_at(socket(AF_INET, SOCK_STREAM, 0), 11);
	set_int(11, SOL_SOCKET, SO_REUSEADDR, 1);
	CHECK(bind(11, ADDRESS(own)) == 0 && connect(11, ADDRESS(address)) == 0);
	put_at(accept(10, NULL, NULL), 12);
	CHECK(write(11, "to twelve", 9) == 9 && write(12, "to eleven", 9) == 9 && shutdown(12, SHUT_WR) == 0);
	set_int(12, IPPROTO_TCP, TCP_NODELAY, 1);
	connect_to(13, AF_INET, ADDRESS(address)); /* waits to be accepted */
	listen_at(14, AF_UNIX, ADDRESS(path));
	connect_to(15, AF_UNIX, ADDRESS(path));
	put_at(accept(14, NULL, NULL), 16);
	CHECK(write(15, "to sixteen", 10) == 10 && write(16, "to fifteen", 10) == 10);
	connect_to(17, AF_UNIX, ADDRESS(path));
	connect_to(18, AF_UNIX, ADDRESS(path));
}

static void check_inside(void)
{
	struct sockaddr_un name = {0};
	socklen_t length = sizeof(client_name);
	char byte;
	CHECK(getpeername(12, (struct sockaddr *)&client_name, &length) == 0);
	CHECK(ntohs(client_name.sin_port) == port6);
	CHECK(get_int(12, IPPROTO_TCP, TCP_NODELAY) == 1 && get_int(11, SOL_SOCKET, SO_REUSEADDR) == 1);
	CHECK(reads(11, "to eleven") && read(11, &byte, 1) == 0 && reads(12, "to twelve"));
	CHECK(write(11, "more", 4) == 4 && reads(12, "more"));
	int waiting = accept(10, NULL, NULL);
	CHECK(write(13, "late", 4) == 4 && reads(waiting, "late"));
	length = sizeof(name);
	CHECK(getpeername(15, (struct sockaddr *)&name, &length) == 0 && strcmp(name.sun_path, "socket") == 0);
	CHECK(reads(15, "to fifteen") && reads(16, "to sixteen"));
	CHECK(write(17, "a", 1) == 1 && write(18, "b", 1) == 1);
	int first = accept(14, NULL, NULL), second = accept(14, NULL, NULL);
	CHECK(reads(first, "a") && reads(second, "b"));
	for (int fd = 11; fd <= 13; fd++) { /* no address stays in use for the next process */
		struct linger abort = {1, 0};
		CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)) == 0);
	}
}

Test(descriptor_socket, connections_within_the_process_are_connected)
{
	port = free_port();
	port6 = free_port();
	check_kept(open_inside, check_inside);
}

static void open_outside_pending(void)
{
	struct sockaddr_in address = loopback(port);
	char block[3000];
	memset(block, 'o', sizeof(block));
	listen_at(HIDDEN_FROM + 10, AF_INET, ADDRESS(address));
	connect_to(HIDDEN_FROM + 11, AF_INET, ADDRESS(address));
	put_at(accept(HIDDEN_FROM + 10, NULL, NULL), 10);
	for (int i = 0; i < 10; i++)
		CHECK(write(HIDDEN_FROM + 11, block, sizeof(block)) == sizeof(block));
	set_int(10, SOL_SOCKET, SO_PEEK_OFF, 5);
}

static void check_outside_pending(void)
{
	struct sockaddr_in name;
	socklen_t length = sizeof(name);
	char block[3000];
	size_t total = 0;
	CHECK(get_int(10, SOL_SOCKET, SO_PEEK_OFF) == 5);
	CHECK(getsockname(10, (struct sockaddr *)&name, &length) == 0 && ntohs(name.sin_port) == port);
	for (ssize_t part; (part = read(10, block, sizeof(block))) > 0; total += (size_t)part)
		CHECK(block[0] == 'o' && block[part - 1] == 'o');
	CHECK(total == 30000);
}

Test(descriptor_socket, what_came_from_outside_can_be_read)
{
	port = free_port();
	check_changed(open_outside_pending, check_outside_pending);
}

/* An error that waits to be told is not swallowed by looking at the socket. */
static void reset_connection(void)
{
	struct sockaddr_in address = loopback(port);
	struct linger abort = {1, 0};
	listen_at(10, AF_INET, ADDRESS(address));
	connect_to(11, AF_INET, ADDRESS(address));
	put_at(accept(10, NULL, NULL), 12);
	CHECK(setsockopt(12, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)) == 0 && close(12) == 0);
}

static void check_reset(void)
{
	CHECK(get_int(11, SOL_SOCKET, SO_ERROR) == ECONNRESET);
}

Test(descriptor_socket, a_pending_error_stays_pending)
{
	port = free_port();
	capture_in_process(reset_connection, check_reset);
}
