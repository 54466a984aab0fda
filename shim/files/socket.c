/*
 * Sockets: names of unix sockets, options, and calls that wait (timeout.h) or give a part (rest.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"
#include "descriptor/descriptor.h"
#include "files/undo.h"
#include "shim/files/rest.h"
#include "shim/files/timeout.h"
#include "shim/next.h"
#include "threads/thread.h"
#include "threads/wait.h"

#define NS_PER_S 1000000000L
#define NS_PER_MS 1000000L
#define KERNEL_RESTART 512 /* ERESTARTSYS */

bool shim_timeouts_set;

static bool joins_group(int level, int option)
{
	switch (option) {
	case IP_ADD_MEMBERSHIP:
	case IP_ADD_SOURCE_MEMBERSHIP: return level == IPPROTO_IP;
	case IPV6_ADD_MEMBERSHIP: return level == IPPROTO_IPV6;
	case MCAST_JOIN_GROUP:
	case MCAST_JOIN_SOURCE_GROUP: return level == IPPROTO_IP || level == IPPROTO_IPV6;
	default: return false;
	}
}

/* Options are read before the stop, and again where this says so. */
SHIM_EXPORT int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	if (level == SOL_SOCKET && (option == SO_RCVTIMEO || option == SO_SNDTIMEO))
		__atomic_store_n(&shim_timeouts_set, true, __ATOMIC_RELEASE);
	rt_descriptors_option_begins(fd);
	int result = SHIM_NEXT(setsockopt)(fd, level, option, value, length);
	if (result == 0 && joins_group(level, option))
		rt_descriptors_note_membership(fd, level, option, value, length);
	rt_descriptors_option_ends(fd);
	return result;
}

/* The path of a unix socket's address, which need not be terminated there. False: it has none. */
static bool is_path(const struct sockaddr *address, socklen_t length, char path[sizeof(struct sockaddr_un)])
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)address;
	size_t start = offsetof(struct sockaddr_un, sun_path);
	if (address == NULL || length <= start || length > sizeof(*un) || un->sun_family != AF_UNIX ||
	    un->sun_path[0] == '\0')
		return false;
	snprintf(path, sizeof(*un), "%.*s", (int)(length - start), un->sun_path);
	return true;
}

/* One that makes a name is undone like any other: the program would find it in use. */
SHIM_EXPORT int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	char path[sizeof(struct sockaddr_un)];
	if (rt_root.engine == NULL || !is_path(address, length, path))
		return SHIM_NEXT(bind)(fd, address, length);
	RT_UNDO_SECTION section = {0};
	rt_undo_before(&section, &(const struct rt_undo_request){RT_UNDO_MAKE, .directory = AT_FDCWD, .path = path});
	int result = SHIM_NEXT(bind)(fd, address, length);
	if (result == 0 && section.open)
		rt_undo_made(&section, -1, AT_FDCWD, path);
	return result;
}

void shim_begin_timeout(struct rt_wait *wait, long number, int fd, int option)
{
	struct timeval timeout = {0};
	socklen_t length = sizeof(timeout);
	int saved = errno;
	wait->number = number;
	wait->kind = RT_WAIT_SOCKET;
	wait->interrupted = false;
	wait->deadline_ns = INT64_MAX;
	if (getsockopt(fd, SOL_SOCKET, option, &timeout, &length) == 0 && (timeout.tv_sec > 0 || timeout.tv_usec > 0))
		wait->deadline_ns = rt_monotonic_ns() + timeout.tv_sec * NS_PER_S + timeout.tv_usec * 1000;
	errno = saved;
	rt_wait_begin(wait);
}

bool shim_wait_again(struct rt_wait *wait, int fd, short events)
{
	if (errno != EINTR || !wait->interrupted)
		return false;
	struct pollfd entry = {.fd = fd, .events = events};
	int64_t left = wait->deadline_ns - rt_monotonic_ns();
	int ready = left <= 0 ? 0 : poll(&entry, 1, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
	wait->interrupted = false;
	if (ready == 0)
		errno = wait->number == SYS_connect ? EINPROGRESS : EAGAIN;
	return ready > 0;
}

/* What is received in part, where all was asked for. */
static ssize_t receive_rest(int fd, void *buffer, size_t length, int flags, ssize_t done)
{
	if (!(flags & MSG_WAITALL) || !shim_cut_short(done, length))
		return done;
	struct iovec vector = {buffer, length};
	return shim_receive_rest(fd, &(const struct msghdr){.msg_iov = &vector, .msg_iovlen = 1}, flags, done);
}

SHIM_EXPORT ssize_t recv(int fd, void *buffer, size_t length, int flags)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_RECEIVING(result, flags, SYS_recvfrom, fd, SHIM_NEXT(recv)(fd, buffer, length, flags));
	return receive_rest(fd, buffer, length, flags, result);
}

SHIM_EXPORT ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, struct sockaddr *address,
			     socklen_t *address_length)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_RECEIVING(result, flags, SYS_recvfrom, fd,
		       SHIM_NEXT(recvfrom)(fd, buffer, length, flags, address, address_length));
	return receive_rest(fd, buffer, length, flags, result);
}

extern ssize_t __recv_chk(int fd, void *buffer, size_t length, size_t size, int flags);
extern ssize_t __recvfrom_chk(int fd, void *buffer, size_t length, size_t size, int flags, struct sockaddr *address,
			      socklen_t *address_length);
extern ssize_t __read_chk(int fd, void *buffer, size_t length, size_t size);

SHIM_EXPORT ssize_t __recv_chk(int fd, void *buffer, size_t length, size_t size, int flags)
{
	return length > size ? SHIM_NEXT(__recv_chk)(fd, buffer, length, size, flags) : recv(fd, buffer, length, flags);
}

SHIM_EXPORT ssize_t __recvfrom_chk(int fd, void *buffer, size_t length, size_t size, int flags,
				   struct sockaddr *address, socklen_t *address_length)
{
	if (length > size)
		return SHIM_NEXT(__recvfrom_chk)(fd, buffer, length, size, flags, address, address_length);
	return recvfrom(fd, buffer, length, flags, address, address_length);
}

SHIM_EXPORT ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_RECEIVING(result, flags, SYS_recvmsg, fd, SHIM_NEXT(recvmsg)(fd, message, flags));
	if ((flags & MSG_WAITALL) && result > 0 &&
	    shim_cut_short(result, shim_vector_length(message->msg_iov, message->msg_iovlen)))
		result = shim_receive_rest(fd, message, flags, result);
	return result;
}

/* The kernel keeps what has ended the call as the socket's error, a signal too. */
static int receive_more(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	int more;
	do
		SHIM_RECEIVING(more, flags, SYS_recvmmsg, fd, SHIM_NEXT(recvmmsg)(fd, messages, count, flags, timeout));
	while (more < 0 && errno == KERNEL_RESTART);
	return more;
}

/* The kernel writes the time that is left. */
SHIM_EXPORT int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
	rt_local.cut_short = false;
	int done = receive_more(fd, messages, count, flags, timeout), more = done, saved = errno;
	while (more > 0 && (unsigned)done < count && rt_local.cut_short && !(flags & MSG_WAITFORONE)) {
		rt_local.cut_short = false;
		more = receive_more(fd, messages + done, count - (unsigned)done, flags, timeout);
		done += more > 0 ? more : 0;
	}
	if (done >= 0)
		errno = saved;
	return done;
}

/* Eight bytes may be those of a timer. */
static ssize_t note_read(int fd, ssize_t result)
{
	if (result == sizeof(uint64_t))
		rt_descriptors_note_timer(fd, false);
	return result;
}

SHIM_EXPORT ssize_t read(int fd, void *buffer, size_t length)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_RECEIVING(result, 0, SYS_read, fd, SHIM_NEXT(read)(fd, buffer, length));
	if (shim_cut_short(result, length))
		result = shim_read_rest(fd, &(const struct iovec){buffer, length}, 1, result);
	return note_read(fd, result);
}

SHIM_EXPORT ssize_t readv(int fd, const struct iovec *vectors, int count)
{
	rt_local.cut_short = false;
	ssize_t done;
	SHIM_RECEIVING(done, 0, SYS_readv, fd, SHIM_NEXT(readv)(fd, vectors, count));
	if (done > 0 && shim_cut_short(done, shim_vector_length(vectors, (size_t)count)))
		done = shim_read_rest(fd, vectors, (size_t)count, done);
	return done;
}

SHIM_EXPORT ssize_t __read_chk(int fd, void *buffer, size_t length, size_t size)
{
	return length > size ? SHIM_NEXT(__read_chk)(fd, buffer, length, size) : read(fd, buffer, length);
}

static ssize_t send_rest(int fd, const void *bytes, size_t length, int flags, ssize_t done)
{
	if (!shim_cut_short(done, length))
		return done;
	struct iovec vector = {(void *)bytes, length};
	return shim_send_rest(fd, &(const struct msghdr){.msg_iov = &vector, .msg_iovlen = 1}, flags, done);
}

SHIM_EXPORT ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_SENDING(result, flags, SYS_sendto, fd, SHIM_NEXT(send)(fd, bytes, length, flags));
	return send_rest(fd, bytes, length, flags, result);
}

/* An address only belongs to what goes in one piece, or is that of the connection anyway. */
SHIM_EXPORT ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *address,
			   socklen_t address_length)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_SENDING(result, flags, SYS_sendto, fd,
		     SHIM_NEXT(sendto)(fd, bytes, length, flags, address, address_length));
	return send_rest(fd, bytes, length, flags, result);
}

SHIM_EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	rt_local.cut_short = false;
	ssize_t result;
	SHIM_SENDING(result, flags, SYS_sendmsg, fd, SHIM_NEXT(sendmsg)(fd, message, flags));
	if (result > 0 && shim_cut_short(result, shim_vector_length(message->msg_iov, message->msg_iovlen)))
		result = shim_send_rest(fd, message, flags, result);
	return result;
}

/* The last of the messages may have gone in part. */
static bool send_last(int fd, struct mmsghdr *last, int flags)
{
	size_t wanted = shim_vector_length(last->msg_hdr.msg_iov, last->msg_hdr.msg_iovlen);
	if (shim_cut_short(last->msg_len, wanted))
		last->msg_len = (unsigned)shim_send_rest(fd, &last->msg_hdr, flags, last->msg_len);
	return last->msg_len == wanted;
}

SHIM_EXPORT int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
	rt_local.cut_short = false;
	int done, more, saved;
	SHIM_SENDING(done, flags, SYS_sendmmsg, fd, SHIM_NEXT(sendmmsg)(fd, messages, count, flags));
	more = done;
	saved = errno;
	while (more > 0 && (unsigned)done <= count && rt_local.cut_short && send_last(fd, &messages[done - 1], flags) &&
	       (unsigned)done < count) {
		rt_local.cut_short = false;
		SHIM_SENDING(more, flags, SYS_sendmmsg, fd,
			     SHIM_NEXT(sendmmsg)(fd, messages + done, count - (unsigned)done, flags));
		done += more > 0 ? more : 0;
	}
	if (done >= 0)
		errno = saved;
	return done;
}

SHIM_EXPORT int accept(int fd, struct sockaddr *address, socklen_t *length)
{
	int result;
	SHIM_RECEIVING(result, 0, SYS_accept, fd, SHIM_NEXT(accept)(fd, address, length));
	return result;
}

SHIM_EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	int result;
	SHIM_RECEIVING(result, 0, SYS_accept4, fd, SHIM_NEXT(accept4)(fd, address, length, flags));
	return result;
}

/* The runtime asks anew where the socket is on its way to, as it does after a change of options. */
SHIM_EXPORT int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	int result;
	rt_descriptors_option_begins(fd);
	rt_descriptors_option_ends(fd);
	SHIM_SENDING(result, 0, SYS_connect, fd, SHIM_NEXT(connect)(fd, address, length));
	return result;
}
