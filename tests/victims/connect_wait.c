/* connect() to listening sockets whose queues are full, so that it waits: in the call, in the call with a timeout, and
 * in poll() after a call that did not wait. None fails, none is told that it was connected before. */
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "victim.h"

#define CLIENTS 6
#define WAITS 3 /* ways to wait */

static long rounds;
static bool told;
/* Each client has a listening socket alone: what comes when the queue is full at once may be connected for its client
 * and unknown to the server, as the kernel does it. */
static struct {
	int fd, first; /* `first` fills the queue */
	struct sockaddr_storage address;
	socklen_t length;
} listeners[CLIENTS];
static pthread_barrier_t barrier;
static uint64_t sums[CLIENTS];

/* Where a request goes to that nobody waits for, only sock_diag(7) tells; its module may be missing. */
static bool kernel_tells(void)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 question;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.question = {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 4},
	};
	struct nlmsghdr answer = {0};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0 || send(fd, &request, sizeof(request), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		answer.nlmsg_type = NLMSG_ERROR;
	close(fd);
	return answer.nlmsg_type != NLMSG_ERROR;
}

static int connect_to(int number, int client)
{
	return connect(client, (struct sockaddr *)&listeners[number].address, listeners[number].length);
}

/* Waits in poll() until the socket is connected. */
static void connect_later(int number, int client)
{
	struct pollfd entry = {.fd = client, .events = POLLOUT};
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof(peer), error_length = sizeof(int);
	int error = -1;

	CHECK_EQUAL(fcntl(client, F_SETFL, O_NONBLOCK), 0);
	if (connect_to(number, client)) {
		CHECK_EQUAL(errno, EINPROGRESS);
		CHECK_EQUAL(poll(&entry, 1, -1), 1);
		CHECK_EQUAL(entry.revents, POLLOUT);
	}
	CHECK_EQUAL(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &error_length), 0);
	CHECK_EQUAL(error, 0);
	CHECK_EQUAL(getpeername(client, (struct sockaddr *)&peer, &length), 0);
	CHECK_EQUAL(length, listeners[number].length);
	CHECK(!memcmp(&peer, &listeners[number].address, length));
	CHECK_EQUAL(fcntl(client, F_SETFL, 0), 0);
}

static void *work(void *argument)
{
	int number = (int)(intptr_t)argument;
	struct timeval timeout = {.tv_sec = 60};
	long i;

	for (i = 0; i < rounds; i++) {
		int client = socket(listeners[number].address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char byte;

		CHECK(client >= 0);
		pthread_barrier_wait(&barrier);
		if (number % WAITS == 1)
			CHECK_EQUAL(setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)), 0);
		if (number % WAITS == 2 && told)
			connect_later(number, client);
		else
			CHECK_EQUAL(connect_to(number, client), 0);
		CHECK_EQUAL(recv(client, &byte, 1, 0), 1);
		sums[number] = mix(sums[number] + (uint64_t)byte);
		CHECK_EQUAL(close(client), 0);
	}
	return NULL;
}

static void empty_queue(int number)
{
	int first = accept4(listeners[number].fd, NULL, NULL, SOCK_CLOEXEC);

	CHECK(first >= 0);
	CHECK_EQUAL(close(listeners[number].first), 0);
	CHECK_EQUAL(close(first), 0);
}

/* The server ends last, so that its port keeps no connection that has ended. */
static void serve(int number, char byte)
{
	int server = accept4(listeners[number].fd, NULL, NULL, SOCK_CLOEXEC);

	CHECK(server >= 0);
	CHECK_EQUAL(send(server, &byte, 1, MSG_NOSIGNAL), 1);
	CHECK_EQUAL(recv(server, &byte, 1, 0), 0);
	CHECK_EQUAL(close(server), 0);
}

static void fill_queue(int number)
{
	listeners[number].first = socket(listeners[number].address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQUAL(connect_to(number, listeners[number].first), 0);
}

static void make_listener(int number)
{
	struct sockaddr_storage *address = &listeners[number].address;
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(number < WAITS ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (number >= WAITS || bind(fd, (struct sockaddr *)&v6, sizeof(v6))) { /* no IPv6 */
		close(fd);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK_EQUAL(bind(fd, (struct sockaddr *)&v4, sizeof(v4)), 0);
	}
	CHECK_EQUAL(listen(fd, 0), 0); /* one may wait */
	listeners[number].length = sizeof(*address);
	CHECK_EQUAL(getsockname(fd, (struct sockaddr *)address, &listeners[number].length), 0);
	listeners[number].fd = fd;
}

int main(int argc, char **argv)
{
	struct timespec pause = to_timespec(400 * MILLISECOND);
	pthread_t threads[CLIENTS];
	uint64_t sum = 0;
	long i;
	int j;

	/* A request that finds the queue full is made again after a second. */
	rounds = victim_work(argc, argv, 2);
	told = kernel_tells();
	CHECK_EQUAL(pthread_barrier_init(&barrier, NULL, CLIENTS + 1), 0);
	for (j = 0; j < CLIENTS; j++) {
		make_listener(j);
		threads[j] = start_thread(work, (void *)(intptr_t)j);
	}
	for (i = 0; i < rounds; i++) {
		for (j = 0; j < CLIENTS; j++)
			fill_queue(j);
		pthread_barrier_wait(&barrier);
		nanosleep(&pause, NULL);
		for (j = 0; j < CLIENTS; j++)
			empty_queue(j);
		for (j = 0; j < CLIENTS; j++)
			serve(j, (char)('a' + (i + j) % 26));
	}
	for (j = 0; j < CLIENTS; j++) {
		join_thread(threads[j]);
		sum += sums[j];
	}
	printf("%llx\n", (unsigned long long)sum);
	return 0;
}
