/* Damaged and hostile manifests: restore answers with a message or restores, and nothing worse. */
#include "descriptor_harness.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "tools/restore/descriptors/private.h"

TestSuite(descriptor_hostile, .init = open_scene, .fini = close_scene, .timeout = 120);

#define PARSED_DAMAGES 200000
#define RESTORED_DAMAGES 400

static uint64_t random_state = 88172645463325252UL;

static uint64_t random_number(void)
{
	random_state ^= random_state << 13; /* Marsaglia's xorshift64 */
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A pipe and the socket itself, to the socket itself or its other end. */
static void send_in_flight(int socket)
{
	char bytes[CMSG_SPACE(3 * sizeof(int))] = {0};
	struct iovec part = {"carries", 7};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = bytes, .msg_controllen = sizeof(bytes)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int fds[3];
	CHECK(pipe(fds) == 0 && write(fds[1], "unread", 6) == 6);
	fds[2] = socket;
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(header), fds, sizeof(fds));
	CHECK(sendmsg(socket, &message, 0) == 7 && close(fds[0]) == 0 && close(fds[1]) == 0);
}

static void open_some_of_each(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct stat a, b;
	int ends[2];
	put_at(open("file", O_RDWR | O_CREAT, 0600), 10);
	CHECK(write(10, "0123456789", 10) == 10 && dup2(10, 11) == 11);
	put_at(memfd_create("memory", 0), 12);
	CHECK(write(12, "0123456789", 10) == 10);
	CHECK(pipe(ends) == 0 && write(ends[1], "unread", 6) == 6);
	put_at(ends[0], 13);
	put_at(ends[1], 14);
	put_at(eventfd(3, 0), 15);
	put_at(timerfd_create(CLOCK_MONOTONIC, 0), 16);
	put_at(epoll_create1(0), 17);
	CHECK(epoll_ctl(17, EPOLL_CTL_ADD, 15, &event) == 0);
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0 && write(ends[1], "unread", 6) == 6);
	CHECK(fstat(ends[0], &a) == 0 && fstat(ends[1], &b) == 0);
	rt_descriptors_note_pair(a.st_ino, b.st_ino);
	put_at(ends[0], 18);
	put_at(ends[1], 19);
	put_at(socket(AF_INET, SOCK_STREAM, 0), 20);
	CHECK(listen(20, 5) == 0);
	put_at(socket(AF_UNIX, SOCK_DGRAM, 0), 21);
	struct sockaddr_un own = {.sun_family = AF_UNIX};
	snprintf(own.sun_path + 1, sizeof(own.sun_path) - 1, "respct-hostile-%d", getpid());
	CHECK(bind(21, (struct sockaddr *)&own, sizeof(own)) == 0 &&
	      connect(21, (struct sockaddr *)&own, sizeof(own)) == 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int on = 1;
	put_at(socket(AF_INET, SOCK_STREAM, 0), 22);
	CHECK(bind(22, (struct sockaddr *)&address, length) == 0 && listen(22, 5) == 0);
	CHECK(getsockname(22, (struct sockaddr *)&address, &length) == 0);
	for (int fd = 23; fd <= 25; fd++) {
		put_at(socket(AF_INET, SOCK_STREAM, 0), fd);
		CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
		CHECK(connect(fd, (struct sockaddr *)&address, length) == 0);
	}
	put_at(accept(22, NULL, NULL), 26);
	put_at(accept(22, NULL, NULL), 27);
	CHECK(write(26, "unread", 6) == 6 && write(24, "unread", 6) == 6 && close(23) == 0);
	put_at(socket(AF_INET, SOCK_DGRAM, 0), 28);
	address.sin_port = 0;
	CHECK(bind(28, (struct sockaddr *)&address, length) == 0);
	CHECK(getsockname(28, (struct sockaddr *)&address, &length) == 0);
	CHECK(sendto(28, "unread", 6, 0, (struct sockaddr *)&address, length) == 6);
	send_in_flight(19);
	send_in_flight(21);
}

/* Flips bits, sets bytes, words or the length: few at a time, so that much stays plausible. */
static size_t damage(uint8_t *bytes, size_t length)
{
	static const uint32_t words[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff8, 48, 1000000};
	for (uint64_t i = random_number() % 4 + 1; i > 0; i--) {
		size_t at = random_number() % length;
		switch (random_number() % 4) {
		case 0: bytes[at] ^= (uint8_t)(1U << random_number() % 8); break;
		case 1: bytes[at] = (uint8_t)random_number(); break;
		case 2:
			at = (at & ~(size_t)3) + 4 <= length ? at & ~(size_t)3 : 0;
			memcpy(bytes + at, &words[random_number() % 8], 4);
			break;
		default:
			if (random_number() % 8 == 0)
				length = at + 1;
		}
	}
	return length;
}

/* A copy that ends where its memory ends, so that AddressSanitizer sees every step outside. */
static uint8_t *damaged_copy(size_t *length)
{
	uint8_t *draft = malloc(scene->length);
	memcpy(draft, scene->manifest, scene->length);
	*length = damage(draft, scene->length);
	uint8_t *copy = malloc(*length);
	memcpy(copy, draft, *length);
	free(draft);
	return copy;
}

Test(descriptor_hostile, any_damage_is_parsed_or_refused)
{
	int refused = 0;
	capture_in_process(open_some_of_each, NULL);
	for (int i = 0; i < PARSED_DAMAGES; i++) {
		size_t length;
		uint8_t *bytes = damaged_copy(&length);
		char problem[256] = "";
		struct restoration restoration = {
			.keep_from = HIDDEN_FROM, .problem = problem, .problem_size = sizeof(problem)};
		int result = restore_parse(&restoration, bytes, length);
		cr_assert(result == 0 || problem[0] != '\0');
		refused += result < 0;
		free(restoration.entries);
		free(bytes);
	}
	cr_assert_gt(refused, PARSED_DAMAGES / 20);
	cr_assert_lt(refused, PARSED_DAMAGES);
}

static void restore_damaged(void *argument)
{
	size_t length;
	uint8_t *bytes = damaged_copy(&length);
	(void)argument;
	int kept = fcntl(0, F_DUPFD, HIDDEN_FROM);
	dup2(open("/dev/null", O_WRONLY), 2);
	int result = restore_descriptors(bytes, length, HIDDEN_FROM, scene->problem, sizeof(scene->problem));
	CHECK(result == 0 || (result == -1 && scene->problem[0] != '\0'));
	CHECK(fcntl(kept, F_GETFD) >= 0);
}

Test(descriptor_hostile, any_damage_is_restored_or_refused)
{
	capture_in_process(open_some_of_each, NULL);
	for (int i = 0; i < RESTORED_DAMAGES; i++) {
		random_number();
		scene->problem[0] = '\0';
		in_process(restore_damaged, NULL);
	}
}

Test(descriptor_hostile, random_bytes_are_refused)
{
	uint8_t bytes[512];
	for (int i = 0; i < 20000; i++) {
		for (size_t at = 0; at < sizeof(bytes); at += 8) {
			uint64_t word = random_number();
			memcpy(bytes + at, &word, 8);
		}
		char problem[256] = "";
		cr_assert_eq(restore_descriptors(bytes, random_number() % sizeof(bytes) + 1, HIDDEN_FROM, problem,
						 sizeof(problem)),
			     -1);
		cr_assert_neq(problem[0], '\0');
	}
}
