/* Socket pairs between threads: byte streams keep every byte, datagram and seqpacket sockets keep
 * every message whole and in order, unread ones at a checkpoint included. */
#include <sys/socket.h>
#include <sys/uio.h>

#include "victim.h"

#define KINDS 3
#define LARGEST 3000

static const int types[KINDS] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
static int ends[KINDS][2];
static uint64_t sums[KINDS];
static long rounds;

static size_t length_of(int kind, long number)
{
	return 1 + mix((uint64_t)number * KINDS + (uint64_t)kind) % LARGEST;
}

static void fill(unsigned char *bytes, size_t length, int kind, long number)
{
	uint64_t seed = mix((uint64_t)number * KINDS + (uint64_t)kind);
	size_t i;

	for (i = 0; i < length; i++)
		bytes[i] = (unsigned char)(seed >> i % 8 * 8) ^ (unsigned char)i;
}

static void send_whole(int fd, const unsigned char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, 0);

		CHECK(sent > 0);
		bytes += sent;
		length -= (size_t)sent;
	}
}

/* Streams arrive in pieces, messages whole: for those a larger buffer must not get more. */
static void receive_whole(int kind, int fd, unsigned char *bytes, size_t length)
{
	struct iovec vector = {bytes, LARGEST};
	struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
	size_t done = 0;

	if (types[kind] != SOCK_STREAM) {
		CHECK_EQUAL(recvmsg(fd, &header, 0), length);
		CHECK_EQUAL(header.msg_flags & MSG_TRUNC, 0);
		return;
	}
	while (done < length) {
		ssize_t got = recv(fd, bytes + done, length - done, 0);

		CHECK(got > 0);
		done += (size_t)got;
	}
}

static void *sender(void *argument)
{
	int kind = (int)(intptr_t)argument;
	unsigned char bytes[LARGEST], answer;
	long i;

	for (i = 0; i < rounds; i++) {
		size_t length = length_of(kind, i);

		fill(bytes, length, kind, i);
		send_whole(ends[kind][0], bytes, length);
		if (i % 2048 == 2047) { /* the other direction, too */
			CHECK_EQUAL(read(ends[kind][0], &answer, 1), 1);
			CHECK_EQUAL(answer, (unsigned char)(i / 2048));
		}
	}
	CHECK_EQUAL(shutdown(ends[kind][0], SHUT_WR), 0);
	return NULL;
}

static void *receiver(void *argument)
{
	int kind = (int)(intptr_t)argument;
	unsigned char bytes[LARGEST], expected[LARGEST];
	long i;

	for (i = 0; i < rounds; i++) {
		size_t length = length_of(kind, i);
		unsigned char answer = (unsigned char)(i / 2048);

		receive_whole(kind, ends[kind][1], bytes, length);
		fill(expected, length, kind, i);
		CHECK(!memcmp(bytes, expected, length));
		sums[kind] += mix(bytes[0] + length);
		if (i % 2048 == 2047)
			CHECK_EQUAL(write(ends[kind][1], &answer, 1), 1);
	}
	if (types[kind] != SOCK_DGRAM)
		CHECK_EQUAL(recv(ends[kind][1], bytes, 1, 0), 0);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[2 * KINDS];
	int i;

	rounds = victim_work(argc, argv, 60000);
	for (i = 0; i < KINDS; i++) {
		CHECK_EQUAL(socketpair(AF_UNIX, types[i], 0, ends[i]), 0);
		threads[2 * i] = start_thread(receiver, (void *)(intptr_t)i);
		threads[2 * i + 1] = start_thread(sender, (void *)(intptr_t)i);
	}
	for (i = 0; i < 2 * KINDS; i++)
		join_thread(threads[i]);
	for (i = 0; i < KINDS; i++)
		printf("socketpair %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
