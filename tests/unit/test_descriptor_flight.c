/* Descriptors in unread messages of unix sockets: runtime/descriptor/flight.c and its restore. */
#include "descriptor_harness.h"

#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

TestSuite(descriptor_flight, .init = open_scene, .fini = close_scene);

#define MOST 8

/* Sends `text` with the descriptors, which end with -1. */
static void send_with(int socket, const char *text, const int *fds)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(MOST * sizeof(int))];
	} control = {0};
	size_t count = 0;
	while (fds[count] >= 0)
		count++;
	struct iovec part = {(void *)(uintptr_t)text, strlen(text)};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = CMSG_SPACE(count * sizeof(int))};
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	CHECK(sendmsg(socket, &message, 0) == (ssize_t)strlen(text));
}

#define SEND(socket, text, ...) send_with(socket, text, (const int[]){__VA_ARGS__, -1})

/* Reads at most `limit` bytes, which must be `text`, and the descriptors to numbers from `first` on. Their
 * count. */
static int receive(int socket, size_t limit, const char *text, int first)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(MOST * sizeof(int))];
	} control;
	char bytes[4096];
	struct iovec part = {bytes, limit};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	CHECK(recvmsg(socket, &message, MSG_DONTWAIT) == (ssize_t)strlen(text));
	CHECK(memcmp(bytes, text, strlen(text)) == 0 && !(message.msg_flags & MSG_CTRUNC));
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header == NULL)
		return 0;
	CHECK(header->cmsg_type == SCM_RIGHTS);
	int fds[MOST], count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(header), (size_t)count * sizeof(int));
	for (int i = 0; i < count; i++)
		CHECK(dup2(fds[i], first + i) == first + i && close(fds[i]) == 0);
	return count;
}

static void open_pair(int type, int number)
{
	int ends[2];
	struct stat a, b;
	CHECK(socketpair(AF_UNIX, type, 0, ends) == 0);
	CHECK(fstat(ends[0], &a) == 0 && fstat(ends[1], &b) == 0);
	rt_descriptors_note_pair(a.st_ino, b.st_ino);
	put_at(ends[0], number);
	put_at(ends[1], number + 1);
}

static void open_pipe(int number)
{
	int ends[2];
	CHECK(pipe(ends) == 0);
	put_at(ends[0], number);
	put_at(ends[1], number + 1);
}

static void close_two(int number)
{
	CHECK(close(number) == 0 && close(number + 1) == 0);
}

/* ---- kinds ---- */

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};

/* On each type of socket: a file that is open, too, a pipe that is not, and a file without a name. */
static void open_kinds(void)
{
	for (int i = 0; i < 3; i++) {
		int at = 10 + 10 * i;
		open_pair(types[i], at);
		put_at(open("file", O_RDWR | O_CREAT, 0600), at + 2);
		CHECK(write(at + 2, "0123456789", 10) == 10 && lseek(at + 2, 3, SEEK_SET) == 3);
		open_pipe(at + 3);
		CHECK(write(at + 4, "unread", 6) == 6);
		put_at(memfd_create("memory", 0), at + 5);
		CHECK(write(at + 5, "memory", 6) == 6 && lseek(at + 5, 1, SEEK_SET) == 1);
		put_at(eventfd(7, EFD_NONBLOCK), at + 6);
		SEND(at, "first", at + 2, at + 3);
		SEND(at, "second", at + 5, at + 2, at + 6, at + 4);
		close_two(at + 3);
		close_two(at + 5);
	}
}

static void check_kinds(void)
{
	for (int i = 0; i < 3; i++) {
		int at = 10 + 10 * i;
		uint64_t count;
		CHECK(receive(at + 1, 100, "first", at + 3) == 2);
		CHECK(lseek(at + 2, 0, SEEK_CUR) == 3 && lseek(at + 3, 2, SEEK_CUR) == 5);
		CHECK(reads(at + 2, "56789"));
		CHECK(receive(at + 1, 100, "second", at + 5) == 4);
		CHECK(reads(at + 5, "emory") && lseek(at + 6, 0, SEEK_CUR) == 10);
		CHECK(read(at + 7, &count, 8) == 8 && count == 7);
		CHECK(write(at + 8, "more", 4) == 4 && close(at + 8) == 0);
		CHECK(reads(at + 4, "unreadmore") && reads(at + 4, ""));
		CHECK(recv(at + 1, &count, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
		CHECK(write(at + 1, "back", 4) == 4 && reads(at, "back"));
	}
}

Test(descriptor_flight, files_pipes_and_memory_arrive)
{
	check_kept(open_kinds, check_kinds);
}

/* ---- boundaries ---- */

/* A stream: descriptors come with the byte they were sent with, whoever reads how much. */
static void open_stream(void)
{
	open_pair(SOCK_STREAM, 10);
	open_pipe(12);
	CHECK(write(10, "abcdefghij", 10) == 10);
	SEND(10, "KLMNO", 12);
	CHECK(write(10, "pq", 2) == 2);
	SEND(10, "R", 13);
	SEND(10, "STU", 12, 13);
	CHECK(write(10, "vwxyz", 5) == 5);
	CHECK(write(11, "other", 5) == 5);
}

static void check_stream(void)
{
	CHECK(receive(11, 4, "abcd", 20) == 0);
	CHECK(receive(11, 6, "efghij", 20) == 0);
	CHECK(receive(11, 2, "KL", 20) == 1 && receive(11, 1, "M", 21) == 0);
	CHECK(receive(11, 100, "NOpqR", 21) == 1);
	CHECK(receive(11, 100, "STU", 22) == 2);
	CHECK(receive(11, 100, "vwxyz", 24) == 0);
	CHECK(write(21, "through", 7) == 7 && reads(22, "through"));
	CHECK(reads(10, "other"));
}

Test(descriptor_flight, they_come_where_they_were_sent)
{
	check_kept(open_stream, check_stream);
}

/* What is behind more than one look at a stream, and larger than one. */
static void open_long_stream(void)
{
	static char bytes[300000];
	open_pair(SOCK_STREAM, 10);
	open_pipe(12);
	int large = 4000000;
	setsockopt(10, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	memset(bytes, 'x', sizeof(bytes));
	CHECK(setsockopt(10, SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof(large)) == 0 ||
	      setsockopt(10, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)) == 0);
	ssize_t sent = send(10, bytes, sizeof(bytes), MSG_DONTWAIT);
	CHECK(sent > 100000);
	SEND(10, "end", 12);
	close(10);
	CHECK(write(13, &sent, sizeof(sent)) == sizeof(sent) && close(13) == 0 && close(12) == 0);
}

static void check_long_stream(void)
{
	char bytes[4096];
	ssize_t sent = 0, length = 0, told;
	struct pollfd entry = {.fd = 11, .events = POLLIN};
	for (; poll(&entry, 1, 0) == 1; sent += length) {
		length = recv(11, bytes, 1, MSG_PEEK);
		if (length == 1 && bytes[0] == 'e')
			break;
		/* No further than the last byte before it. */
		length = recv(11, bytes, sizeof(bytes), MSG_PEEK);
		char *end = memchr(bytes, 'e', (size_t)length);
		length = recv(11, bytes, end ? (size_t)(end - bytes) : (size_t)length, 0);
		CHECK(length > 0);
	}
	CHECK(receive(11, 100, "end", 20) == 1);
	CHECK(read(20, &told, sizeof(told)) == sizeof(told) && told == sent);
	CHECK(read(20, &told, 1) == 0 && read(11, bytes, 1) == 0);
}

Test(descriptor_flight, long_streams)
{
	check_kept(open_long_stream, check_long_stream);
}

/* ---- sockets in flight ---- */

/* An end that is only in flight, in it another, in its queue a pipe; and one in its own queue. */
static void open_nested(void)
{
	open_pair(SOCK_STREAM, 10);
	open_pair(SOCK_DGRAM, 20);
	open_pair(SOCK_SEQPACKET, 30);
	open_pipe(40);
	SEND(30, "innermost", 40, 41);
	SEND(20, "inner", 31, 30);
	SEND(10, "outer", 21);
	CHECK(write(10, "rest", 4) == 4);
	close_two(40);
	close_two(30);
	CHECK(close(21) == 0);
	open_pair(SOCK_STREAM, 50);
	SEND(50, "self", 51);
	SEND(51, "both", 51, 50);
}

static void check_nested(void)
{
	CHECK(receive(11, 100, "outer", 21) == 1);
	CHECK(reads(11, "rest"));
	CHECK(receive(21, 100, "inner", 30) == 2);
	CHECK(receive(30, 100, "innermost", 40) == 2);
	CHECK(write(41, "through", 7) == 7 && reads(40, "through"));
	CHECK(write(20, "down", 4) == 4 && reads(21, "down"));
	CHECK(write(30, "back", 4) == 4 && reads(31, "back"));
	CHECK(receive(51, 100, "self", 52) == 1);
	CHECK(write(52, "up", 2) == 2 && receive(50, 100, "both", 53) == 2);
	CHECK(reads(54, "up") && write(54, "again", 5) == 5 && reads(53, "again"));
}

Test(descriptor_flight, sockets_that_hold_others)
{
	check_kept(open_nested, check_nested);
}

/* The program goes on with what it receives after a restore, and is restored again. */
static void open_half(void)
{
	open_pair(SOCK_STREAM, 10);
	open_pair(SOCK_STREAM, 20);
	SEND(10, "half", 21);
	CHECK(close(21) == 0);
}

static void run_on(void *argument)
{
	(void)argument;
	close_range(3, ~0U, 0);
	open_half();
	capture_now(open_table());
	close_range(3, ~0U, 0);
	restore_now();
	CHECK(scene->restored == 0);
	struct descriptor_table *table = open_table();
	capture_now(table);
	CHECK(receive(11, 100, "half", 21) == 1);
	CHECK(write(20, "unread", 6) == 6);
	capture_now(table);
}

static void check_half(void)
{
	CHECK(reads(21, "unread") && write(21, "back", 4) == 4 && reads(20, "back"));
}

Test(descriptor_flight, a_half_that_arrives_after_a_restore_belongs_to_its_pair)
{
	in_process(run_on, NULL);
	restore_in_process(check_half);
}

static struct sockaddr_un abstract(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "respct-%s-%s", folder, name);
	return address;
}

/* Sockets with names, a listening one in flight, and what is sent to and from names. */
static void open_named(void)
{
	struct sockaddr_un receiver = abstract("receiver"), sender = abstract("sender"), server = abstract("server");
	open_pipe(10);
	put_at(socket(AF_UNIX, SOCK_DGRAM, 0), 12);
	put_at(socket(AF_UNIX, SOCK_DGRAM, 0), 13);
	CHECK(bind(12, (struct sockaddr *)&receiver, sizeof(receiver)) == 0);
	CHECK(bind(13, (struct sockaddr *)&sender, sizeof(sender)) == 0);
	put_at(socket(AF_UNIX, SOCK_STREAM, 0), 14);
	CHECK(bind(14, (struct sockaddr *)&server, sizeof(server)) == 0 && listen(14, 5) == 0);
	put_at(socket(AF_UNIX, SOCK_STREAM, 0), 15);
	CHECK(connect(15, (struct sockaddr *)&server, sizeof(server)) == 0);
	put_at(accept(14, NULL, NULL), 16);
	CHECK(connect(13, (struct sockaddr *)&receiver, sizeof(receiver)) == 0);
	CHECK(send(13, "plain", 5, 0) == 5);
	SEND(13, "listening", 14, 10);
	SEND(15, "receiver", 12);
	SEND(16, "writer", 11);
	close_two(10);
	CHECK(close(14) == 0 && close(12) == 0);
}

static void check_named(void)
{
	struct sockaddr_un server = abstract("server"), from = {0};
	socklen_t length = sizeof(from);
	char bytes[16];
	CHECK(receive(16, 100, "receiver", 12) == 1 && receive(15, 100, "writer", 11) == 1);
	CHECK(recvfrom(12, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &length) == 5);
	CHECK(memcmp(bytes, "plain", 5) == 0 && strstr(from.sun_path + 1, "sender") != NULL);
	CHECK(receive(12, 100, "listening", 20) == 2);
	CHECK(write(11, "x", 1) == 1 && reads(21, "x"));
	put_at(socket(AF_UNIX, SOCK_STREAM, 0), 22);
	CHECK(connect(22, (struct sockaddr *)&server, sizeof(server)) == 0);
	put_at(accept(20, NULL, NULL), 23);
	CHECK(write(22, "y", 1) == 1 && reads(23, "y"));
}

Test(descriptor_flight, sockets_with_names)
{
	check_kept(open_named, check_named);
}

/* ---- epoll ---- */

static void open_epoll(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	open_pair(SOCK_STREAM, 10);
	open_pipe(12);
	put_at(epoll_create1(0), 14);
	put_at(epoll_create1(0), 15);
	event.data.u64 = 1;
	CHECK(epoll_ctl(14, EPOLL_CTL_ADD, 12, &event) == 0); /* an epoll set that is in flight */
	CHECK(epoll_ctl(15, EPOLL_CTL_ADD, 12, &event) == 0); /* what it watches is in flight */
	event.data.u64 = 2;
	CHECK(epoll_ctl(15, EPOLL_CTL_ADD, 11, &event) == 0);
	SEND(10, "x", 14, 12);
	CHECK(close(12) == 0 && close(14) == 0);
}

static void check_epoll(void)
{
	struct epoll_event event = {0};
	CHECK(epoll_wait(15, &event, 1, 0) == 1 && event.data.u64 == 2);
	CHECK(receive(11, 100, "x", 20) == 2);
	CHECK(epoll_wait(15, &event, 1, 0) == 0 && epoll_wait(20, &event, 1, 0) == 0);
	CHECK(write(13, "x", 1) == 1);
	CHECK(epoll_wait(15, &event, 1, 0) == 1 && event.data.u64 == 1);
	CHECK(epoll_wait(20, &event, 1, 0) == 1 && event.data.u64 == 1);
}

Test(descriptor_flight, interest_lists)
{
	check_kept(open_epoll, check_epoll);
}

/* ---- credentials ---- */

static void set_option(int fd, int option, int value)
{
	CHECK(setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)) == 0);
}

static void open_credentials(void)
{
	for (int i = 0; i < 3; i++) {
		int at = 10 + 10 * i;
		open_pair(types[i], at);
		CHECK(write(at, "before", 6) == 6);
		set_option(at + 1, SO_PASSCRED, 1);
		CHECK(write(at, "plain", 5) == 5);
		open_pipe(at + 2);
		SEND(at, "both", at + 2);
		CHECK(close(at + 2) == 0);
	}
}

/* The kernel joins what the same process has sent. */
static void check_one(int fd, const char *text, bool sender, int rights)
{
	char bytes[100], control[256] __attribute__((aligned(16)));
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 256};
	CHECK(recvmsg(fd, &message, MSG_DONTWAIT) == (ssize_t)strlen(text) && !memcmp(bytes, text, strlen(text)));
	struct ucred credentials = {.pid = -1};
	int found = 0;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_type == SCM_CREDENTIALS)
			memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
		else
			found += (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	}
	CHECK(found == rights && credentials.pid >= 0);
	CHECK((credentials.pid != 0) == sender);
	CHECK(!sender || credentials.uid == getuid());
}

static void check_credentials(void)
{
	int on = 0;
	socklen_t length = sizeof(on);
	for (int i = 0; i < 3; i++) {
		int at = 10 + 10 * i;
		check_one(at + 1, "before", false, 0);
		if (types[i] == SOCK_STREAM) {
			check_one(at + 1, "plainboth", true, 1);
		} else {
			check_one(at + 1, "plain", true, 0);
			check_one(at + 1, "both", true, 1);
		}
		CHECK(getsockopt(at + 1, SOL_SOCKET, SO_PASSCRED, &on, &length) == 0 && on == 1);
	}
}

Test(descriptor_flight, credentials)
{
	check_kept(open_credentials, check_credentials);
}

/* ---- what must not change ---- */

static bool is_locked(void)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int fd = open("locked", O_RDWR);
		_exit(fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK);
	}
	CHECK(waitpid(child, &status, 0) == child);
	return status == 0;
}

static void open_locked(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	open_pair(SOCK_STREAM, 10);
	put_at(open("locked", O_RDWR | O_CREAT, 0600), 12);
	SEND(10, "x", 12);
	rt_descriptors_note_locking();
	CHECK(fcntl(12, F_SETLK, &lock) == 0);
}

static void check_locked(void)
{
	CHECK(is_locked());
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 4096);
	CHECK(receive(11, 100, "x", 20) == 1);
}

Test(descriptor_flight, locks_of_the_process_stay)
{
	capture_in_process(open_locked, check_locked);
}

/* A pipe's end in flight: when the program closes the last writer, the reader sees it at once. */
static void open_writer(void)
{
	open_pair(SOCK_STREAM, 10);
	open_pipe(12);
	SEND(10, "x", 13);
	CHECK(close(13) == 0 && fcntl(12, F_SETFL, O_NONBLOCK) == 0);
}

static void check_writer(void)
{
	char byte;
	CHECK(read(12, &byte, 1) == -1 && errno == EAGAIN);
	CHECK(receive(11, 100, "x", 20) == 1 && close(20) == 0);
	CHECK(read(12, &byte, 1) == 0);
}

Test(descriptor_flight, no_duplicate_stays)
{
	check_kept(open_writer, check_writer);
}

/* With hardly a number to spare below the limit. */
static void open_all_numbers(void)
{
	struct rlimit limit = {HIDDEN_FROM + 3, 4096};
	open_pair(SOCK_STREAM, 10);
	open_pipe(12);
	for (int i = 0; i < 5; i++)
		SEND(10, "x", 12, 13, 12);
	while (fcntl(12, F_DUPFD, 0) < HIDDEN_FROM - 5)
		;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void check_all_numbers(void)
{
	struct rlimit limit = {4096, 4096};
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(close_range(14, HIDDEN_FROM - 1, 0) == 0);
	for (int i = 0; i < 5; i++)
		CHECK(receive(11, 100, "x", 20) == 3);
	CHECK(write(21, "x", 1) == 1 && reads(20, "x"));
}

Test(descriptor_flight, no_number_to_spare)
{
	check_kept(open_all_numbers, check_all_numbers);
}
