/* Descriptors in flight: files, pipes, sockets and more are sent through unix sockets of each type and wait
 * there for milliseconds. Most are open nowhere else. Each arrives with the byte it was sent with, as it was. */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "victim.h"

#define KINDS 3
#define PENDING 8 /* messages that wait at most */
#define CARGOES 6
#define FILE_BYTES 4096

static const int types[KINDS] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
static int ends[KINDS][2];
static long received[KINDS]; /* atomic */
static uint64_t sums[KINDS];
static long rounds;

struct cargo {
	int fds[2];
	int count;
};

static void send_cargo(int socket, const void *bytes, size_t length, const struct cargo *cargo)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct iovec part = {(void *)(uintptr_t)bytes, length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	size_t size = (size_t)cargo->count * sizeof(int);
	int i;

	if (cargo->count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(size);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(size);
		memcpy(CMSG_DATA(&control.header), cargo->fds, size);
	}
	CHECK_EQUAL(sendmsg(socket, &message, 0), (long)length);
	for (i = 0; i < cargo->count; i++)
		CHECK_EQUAL(close(cargo->fds[i]), 0);
}

static struct cargo receive_cargo(int socket, void *bytes, size_t length)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	struct iovec part = {bytes, length};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cargo cargo = {.count = 0};

	CHECK_EQUAL(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), (long)length);
	CHECK_EQUAL(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
	if (message.msg_controllen > 0) {
		CHECK_EQUAL(control.header.cmsg_type, SCM_RIGHTS);
		cargo.count = (int)((control.header.cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(cargo.fds, CMSG_DATA(&control.header), (size_t)cargo.count * sizeof(int));
	}
	return cargo;
}

/* What message `i` carries, by its number. */
static struct cargo pack(int kind, long i)
{
	static const struct cargo nothing = {.count = 0};
	struct cargo cargo = {.count = 1}, inner = {.count = 2};
	uint64_t value = mix((uint64_t)i * KINDS + (uint64_t)kind);
	int pair[2];

	switch (i % CARGOES) {
	case 0: /* a place in a file */
		cargo.fds[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
		CHECK_EQUAL(lseek(cargo.fds[0], (off_t)(value % FILE_BYTES), SEEK_SET), (long)(value % FILE_BYTES));
		return cargo;
	case 1: /* a pipe that holds something, and has no writer any more */
		CHECK_EQUAL(pipe(pair), 0);
		CHECK_EQUAL(write(pair[1], &value, sizeof(value)), (long)sizeof(value));
		CHECK_EQUAL(close(pair[1]), 0);
		cargo.fds[0] = pair[0];
		return cargo;
	case 2: /* both ends of a pipe */
		CHECK_EQUAL(pipe(cargo.fds), 0);
		cargo.count = 2;
		return cargo;
	case 3: /* half of a socket pair, and in its queue an eventfd and a file without a name */
		CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		inner.fds[0] = eventfd((unsigned)(value % 1000), EFD_CLOEXEC);
		inner.fds[1] = memfd_create("flight", MFD_CLOEXEC);
		CHECK_EQUAL(write(inner.fds[1], &value, sizeof(value)), (long)sizeof(value));
		send_cargo(pair[1], &value, sizeof(value), &inner);
		CHECK_EQUAL(close(pair[1]), 0);
		cargo.fds[0] = pair[0];
		return cargo;
	case 4: /* a whole pair, with something under way */
		CHECK_EQUAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, cargo.fds), 0);
		CHECK_EQUAL(write(cargo.fds[0], &value, sizeof(value)), (long)sizeof(value));
		cargo.count = 2;
		return cargo;
	default: return nothing;
	}
}

static uint64_t read_value(int fd)
{
	uint64_t value = 0;

	CHECK_EQUAL(read(fd, &value, sizeof(value)), (long)sizeof(value));
	return value;
}

static void unpack(int kind, long i, struct cargo *cargo)
{
	static const int counts[CARGOES] = {1, 1, 2, 1, 2, 0};
	uint64_t value = mix((uint64_t)i * KINDS + (uint64_t)kind), other = 0;
	struct cargo inner;
	int at;

	CHECK_EQUAL(cargo->count, counts[i % CARGOES]);
	switch (i % CARGOES) {
	case 0:
		CHECK_EQUAL(lseek(cargo->fds[0], 0, SEEK_CUR), (long)(value % FILE_BYTES));
		sums[kind] += read_value(cargo->fds[0]);
		break;
	case 1:
		CHECK_EQUAL(read_value(cargo->fds[0]), value);
		CHECK_EQUAL(read(cargo->fds[0], &other, 1), 0);
		break;
	case 2:
		CHECK_EQUAL(write(cargo->fds[1], &value, sizeof(value)), (long)sizeof(value));
		CHECK_EQUAL(read_value(cargo->fds[0]), value);
		break;
	case 3:
		inner = receive_cargo(cargo->fds[0], &other, sizeof(other));
		CHECK_EQUAL(inner.count, 2);
		CHECK_EQUAL(other, value);
		if (value % 1000 != 0)
			CHECK_EQUAL(read_value(inner.fds[0]), value % 1000);
		CHECK_EQUAL(lseek(inner.fds[1], 0, SEEK_CUR), 8);
		CHECK_EQUAL(pread(inner.fds[1], &other, sizeof(other), 0), 8);
		CHECK_EQUAL(other, value);
		CHECK_EQUAL(close(inner.fds[0]) + close(inner.fds[1]), 0);
		CHECK_EQUAL(read(cargo->fds[0], &other, 1), 0);
		break;
	case 4:
		CHECK_EQUAL(read_value(cargo->fds[1]), value);
		CHECK_EQUAL(write(cargo->fds[1], &value, sizeof(value)), (long)sizeof(value));
		CHECK_EQUAL(read_value(cargo->fds[0]), value);
		break;
	}
	for (at = 0; at < cargo->count; at++)
		CHECK_EQUAL(close(cargo->fds[at]), 0);
	sums[kind] = mix(sums[kind] + value);
}

static void *sender(void *argument)
{
	int kind = (int)(intptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		struct cargo cargo;

		while (i - __atomic_load_n(&received[kind], __ATOMIC_ACQUIRE) >= PENDING)
			usleep(200);
		cargo = pack(kind, i);
		send_cargo(ends[kind][0], &i, sizeof(i), &cargo);
	}
	return NULL;
}

static void *receiver(void *argument)
{
	int kind = (int)(intptr_t)argument;
	long i, number;

	for (i = 0; i < rounds; i++) {
		struct cargo cargo = receive_cargo(ends[kind][1], &number, sizeof(number));

		CHECK_EQUAL(number, i);
		unpack(kind, i, &cargo);
		__atomic_store_n(&received[kind], i + 1, __ATOMIC_RELEASE);
		if (i % PENDING == 0)
			usleep(3000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[2 * KINDS];
	int i;

	rounds = victim_work(argc, argv, 2500);
	for (i = 0; i < KINDS; i++) {
		CHECK_EQUAL(socketpair(AF_UNIX, types[i], 0, ends[i]), 0);
		threads[2 * i] = start_thread(receiver, (void *)(intptr_t)i);
		threads[2 * i + 1] = start_thread(sender, (void *)(intptr_t)i);
	}
	for (i = 0; i < 2 * KINDS; i++)
		join_thread(threads[i]);
	for (i = 0; i < KINDS; i++)
		printf("flight %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
