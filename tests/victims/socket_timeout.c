/* Calls on sockets with SO_RCVTIMEO and SO_SNDTIMEO time out when they are due, not early, and never
 * fail with EINTR; what comes in time is received. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "victim.h"

#define TIMEOUT_MS 400
#define WAITERS 10

static long rounds;
static int pair[2], full[2], listener, busy;
static struct sockaddr_in address = {.sin_family = AF_INET};
static uint64_t sum;

static void set_timeout(int fd, int option, int milliseconds)
{
	struct timeval timeout = {milliseconds / 1000, milliseconds % 1000 * 1000};

	CHECK_EQUAL(setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout)), 0);
}

/* The clock of a life does not go on while it is dead; it may be late in any life. */
static void check_due(int64_t started)
{
	CHECK_EQUAL(errno, EAGAIN);
	CHECK(now_ns() - started >= (TIMEOUT_MS - 5) * MILLISECOND);
}

enum way { SEND, WRITE, WRITEV, SENDMMSG };

/* A restored queue may have room for a little more. */
static void wait_full(int fd, enum way way, int64_t *started)
{
	char bytes[100] = {0};
	struct iovec vector = {bytes, sizeof(bytes)};
	struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
	ssize_t result;

	do {
		*started = now_ns();
		result = way == SEND     ? send(fd, bytes, sizeof(bytes), 0)
			 : way == WRITE  ? write(fd, bytes, sizeof(bytes))
			 : way == WRITEV ? writev(fd, &vector, 1)
					 : sendmmsg(fd, &message, 1, 0);
	} while (result > 0);
}

static void *time_out(void *argument)
{
	int which = (int)(intptr_t)argument;
	struct msghdr message = {0};
	char bytes[100] = {0};
	struct iovec vector = {bytes, sizeof(bytes)};
	struct mmsghdr messages = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
	long i;

	for (i = 0; i < rounds; i++) {
		int64_t started = now_ns();

		switch (which) {
		case 0: CHECK_EQUAL(recv(pair[0], bytes, sizeof(bytes), 0), -1); break;
		case 1: CHECK_EQUAL(read(pair[0], bytes, sizeof(bytes)), -1); break;
		case 2: CHECK_EQUAL(recvmsg(pair[0], &message, 0), -1); break;
		case 3: CHECK_EQUAL(accept(listener, NULL, NULL), -1); break;
		case 4: CHECK_EQUAL(readv(pair[0], &vector, 1), -1); break;
		case 5: CHECK_EQUAL(recvmmsg(pair[0], &messages, 1, 0, NULL), -1); break;
		case 6: wait_full(full[0], WRITE, &started); break;
		case 7: wait_full(full[0], WRITEV, &started); break;
		case 8: wait_full(full[0], SENDMMSG, &started); break;
		default: wait_full(full[0], SEND, &started);
		}
		check_due(started);
	}
	return NULL;
}

/* One that waits long, for what comes in the middle of the time. */
static void *receive(void *argument)
{
	uint64_t value;
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(recv(busy, &value, sizeof(value), MSG_WAITALL), (long)sizeof(value));
		CHECK(value == mix((uint64_t)i));
		sum += value;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[WAITERS + 1];
	int ends[2], i;
	char bytes[4096] = {0};

	rounds = victim_work(argc, argv, 6);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, full), 0);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	busy = ends[0];
	while (send(full[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK_EQUAL(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	CHECK_EQUAL(listen(listener, 4), 0);
	set_timeout(pair[0], SO_RCVTIMEO, TIMEOUT_MS);
	set_timeout(listener, SO_RCVTIMEO, TIMEOUT_MS);
	set_timeout(full[0], SO_SNDTIMEO, TIMEOUT_MS);
	set_timeout(busy, SO_RCVTIMEO, 60000);
	for (i = 0; i < WAITERS; i++)
		threads[i] = start_thread(time_out, (void *)(intptr_t)i);
	threads[WAITERS] = start_thread(receive, NULL);
	for (i = 0; i < rounds; i++) {
		uint64_t value = mix((uint64_t)i);

		usleep(TIMEOUT_MS * 1000);
		CHECK_EQUAL(send(ends[1], &value, sizeof(value), 0), (long)sizeof(value));
	}
	for (i = 0; i <= WAITERS; i++)
		join_thread(threads[i]);
	printf("%ld rounds: %llu\n", rounds, (unsigned long long)sum);
	return 0;
}
