/* Calls that a signal may end with a part of what they were asked for, on blocking descriptors: a checkpoint must not, as
 * programs that have no handlers rightly ask for all and expect it. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "victim.h"

#define SIZE (256 * 1024)
#define PIECES 4

enum way { WRITE, WRITEV, SEND, SENDTO, SENDMSG, SENDFILE, RECV_ALL, RECVMSG_ALL, SENDMMSG, RECVMMSG, WAYS };

static long rounds;
static int ends[WAYS][2]; /* the first is read */
static int pattern_file;
static uint64_t sums[WAYS];

/* The bytes of one round, all different from those of the next. */
static void fill(char *bytes, long round)
{
	long i;

	for (i = 0; i < SIZE; i += (long)sizeof(uint64_t)) {
		uint64_t value = mix((uint64_t)(round * SIZE + i));

		memcpy(bytes + i, &value, sizeof(value));
	}
}

static void split(struct iovec pieces[PIECES], char *bytes)
{
	size_t at = 0, i;

	for (i = 0; i < PIECES; i++) {
		size_t length = i == PIECES - 1 ? SIZE - at : (size_t)SIZE / PIECES + i * 1001;

		pieces[i] = (struct iovec){bytes + at, length};
		at += length;
	}
}

static void split_messages(struct mmsghdr messages[PIECES], struct iovec pieces[PIECES], char *bytes)
{
	int i;

	split(pieces, bytes);
	memset(messages, 0, PIECES * sizeof(messages[0]));
	for (i = 0; i < PIECES; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
}

static void check_lengths(const struct mmsghdr messages[PIECES], const struct iovec pieces[PIECES])
{
	int i;

	for (i = 0; i < PIECES; i++)
		CHECK_EQUAL(messages[i].msg_len, pieces[i].iov_len);
}

static ssize_t put(enum way way, int fd, char *bytes)
{
	struct iovec pieces[PIECES];
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = PIECES};
	struct mmsghdr messages[PIECES];
	off_t offset = 0;
	int i;

	split(pieces, bytes);
	switch (way) {
	case WRITEV: return writev(fd, pieces, PIECES);
	case SEND: return send(fd, bytes, SIZE, MSG_NOSIGNAL);
	case SENDTO: return sendto(fd, bytes, SIZE, MSG_NOSIGNAL, NULL, 0);
	case SENDMSG: return sendmsg(fd, &message, MSG_NOSIGNAL);
	case SENDFILE: return sendfile(fd, pattern_file, &offset, SIZE);
	case RECVMMSG: /* one by one, a pause between them */
		for (i = 0; i < PIECES; i++) {
			CHECK_EQUAL(send(fd, pieces[i].iov_base, pieces[i].iov_len, MSG_NOSIGNAL), pieces[i].iov_len);
			usleep(1000);
		}
		return SIZE;
	case SENDMMSG:
		split_messages(messages, pieces, bytes);
		CHECK_EQUAL(sendmmsg(fd, messages, PIECES, MSG_NOSIGNAL), PIECES);
		check_lengths(messages, pieces);
		return SIZE;
	default: return write(fd, bytes, SIZE);
	}
}

static void *writer(void *argument)
{
	enum way way = (enum way)(intptr_t)argument;
	char *bytes = malloc(SIZE);
	long i;

	for (i = 0; i < rounds; i++) {
		fill(bytes, way == SENDFILE ? 0 : i);
		CHECK_EQUAL(put(way, ends[way][1], bytes), SIZE);
	}
	free(bytes);
	return NULL;
}

/* In pieces, or all at once. */
static void get(enum way way, int fd, char *bytes, long round)
{
	struct iovec pieces[PIECES];
	struct msghdr message = {.msg_iov = pieces, .msg_iovlen = PIECES};
	struct mmsghdr messages[PIECES];
	ssize_t done = 0;

	split(pieces, bytes);
	if (way == RECV_ALL) {
		CHECK_EQUAL(recv(fd, bytes, SIZE, MSG_WAITALL), SIZE);
	} else if (way == RECVMSG_ALL) {
		CHECK_EQUAL(recvmsg(fd, &message, MSG_WAITALL), SIZE);
	} else if (way == RECVMMSG) {
		split_messages(messages, pieces, bytes);
		CHECK_EQUAL(recvmmsg(fd, messages, PIECES, MSG_WAITALL, NULL), PIECES);
		check_lengths(messages, pieces);
	} else {
		while (done < SIZE) {
			ssize_t length =
				read(fd, bytes + done, (size_t)(SIZE - done) < 9000 ? (size_t)(SIZE - done) : 9000);

			CHECK(length > 0);
			done += length;
			spin((uint64_t)round, 2000);
		}
	}
}

static void *reader(void *argument)
{
	enum way way = (enum way)(intptr_t)argument;
	char *bytes = malloc(SIZE), *expected = malloc(SIZE);
	long i;

	for (i = 0; i < rounds; i++) {
		get(way, ends[way][0], bytes, i);
		fill(expected, way == SENDFILE ? 0 : i);
		CHECK(!memcmp(bytes, expected, SIZE));
		sums[way] = mix(sums[way] + (uint64_t)bytes[i % SIZE]);
	}
	free(bytes);
	free(expected);
	return NULL;
}

/* Devices that are never empty. */
static void *device_reader(void *argument)
{
	char *bytes = malloc(SIZE);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	struct iovec pieces[PIECES];
	long i;

	split(pieces, bytes);
	for (i = 0; i < rounds * 8; i++) {
		CHECK_EQUAL(read(random, bytes, SIZE), SIZE);
		CHECK_EQUAL(getrandom(bytes, SIZE, 0), SIZE);
		CHECK_EQUAL(readv(random, pieces, PIECES), SIZE);
		CHECK_EQUAL(read(zero, bytes, SIZE), SIZE);
		CHECK(bytes[0] == 0 && !memcmp(bytes, bytes + 1, SIZE - 1));
	}
	close(zero);
	close(random);
	free(bytes);
	return argument;
}

static int make_file(void)
{
	char *bytes = malloc(SIZE);
	int fd = memfd_create("pattern", MFD_CLOEXEC);

	CHECK(fd >= 0);
	fill(bytes, 0);
	CHECK_EQUAL(pwrite(fd, bytes, SIZE, 0), SIZE);
	free(bytes);
	return fd;
}

int main(int argc, char **argv)
{
	pthread_t threads[2 * WAYS], device;
	uint64_t sum = 0;
	int i;

	rounds = victim_work(argc, argv, 40);
	pattern_file = make_file();
	for (i = 0; i < WAYS; i++) {
		if (i == WRITE || i == WRITEV)
			CHECK_EQUAL(pipe2(ends[i], O_CLOEXEC), 0);
		else
			CHECK_EQUAL(socketpair(AF_UNIX, (i == RECVMMSG ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC,
					       0, ends[i]),
				    0);
	}
	device = start_thread(device_reader, NULL);
	for (i = 0; i < WAYS; i++) {
		threads[2 * i] = start_thread(writer, (void *)(intptr_t)i);
		threads[2 * i + 1] = start_thread(reader, (void *)(intptr_t)i);
	}
	for (i = 0; i < 2 * WAYS; i++)
		join_thread(threads[i]);
	join_thread(device);
	for (i = 0; i < WAYS; i++)
		sum += sums[i];
	printf("%llx\n", (unsigned long long)sum);
	return 0;
}
