/*
 * The rest of calls that a stop has cut short (rest.h), and getrandom(), of which there is nothing else to know.
 */
#include <errno.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "shim/files/rest.h"
#include "shim/files/timeout.h"
#include "shim/next.h"

#define MEMORY_DEVICES 1 /* the major number of /dev/zero, /dev/urandom and the like */

/* What asks again: the call on other vectors. */
struct rest {
	ssize_t (*call)(const struct rest *rest, const struct iovec *vectors, size_t count);
	int fd, flags;
	const struct msghdr *message;
};

static ssize_t call_write(const struct rest *rest, const struct iovec *vectors, size_t count)
{
	ssize_t result;
	SHIM_SENDING(result, 0, SYS_writev, rest->fd, SHIM_NEXT(writev)(rest->fd, vectors, (int)count));
	return result;
}

static ssize_t call_read(const struct rest *rest, const struct iovec *vectors, size_t count)
{
	return SHIM_NEXT(readv)(rest->fd, vectors, (int)count);
}

/* What goes with a message has gone with its first bytes. */
static ssize_t call_send(const struct rest *rest, const struct iovec *vectors, size_t count)
{
	struct msghdr message = *rest->message;
	message.msg_iov = (struct iovec *)vectors;
	message.msg_iovlen = count;
	message.msg_control = NULL;
	message.msg_controllen = 0;
	ssize_t result;
	SHIM_SENDING(result, rest->flags, SYS_sendmsg, rest->fd, SHIM_NEXT(sendmsg)(rest->fd, &message, rest->flags));
	return result;
}

static ssize_t call_receive(const struct rest *rest, const struct iovec *vectors, size_t count)
{
	struct msghdr message = {.msg_iov = (struct iovec *)vectors, .msg_iovlen = count};
	ssize_t result;
	SHIM_RECEIVING(result, rest->flags, SYS_recvmsg, rest->fd, SHIM_NEXT(recvmsg)(rest->fd, &message, rest->flags));
	return result;
}

/* Vector by vector where one is in part done, else all that are left at once. */
static ssize_t call_after(const struct rest *rest, const struct iovec *vectors, size_t count, size_t done,
			  size_t *asked)
{
	size_t i = 0;
	while (i < count && done >= vectors[i].iov_len)
		done -= vectors[i++].iov_len;
	if (done == 0) {
		*asked = shim_vector_length(vectors + i, count - i);
		return rest->call(rest, vectors + i, count - i);
	}
	const struct iovec part = {(char *)vectors[i].iov_base + done, vectors[i].iov_len - done};
	*asked = part.iov_len;
	return rest->call(rest, &part, 1);
}

static ssize_t move_rest(const struct rest *rest, const struct iovec *vectors, size_t count, ssize_t done)
{
	size_t all = shim_vector_length(vectors, count), asked = 0;
	int saved = errno;
	while ((size_t)done < all) {
		rt_local.cut_short = false;
		ssize_t more = call_after(rest, vectors, count, (size_t)done, &asked);
		bool stopped = rt_local.cut_short;
		if (more <= 0)
			break;
		done += more;
		if ((size_t)more < asked && !stopped)
			break;
	}
	errno = saved;
	return done;
}

ssize_t shim_write_rest(int fd, const struct iovec *vectors, size_t count, ssize_t done)
{
	return move_rest(&(struct rest){call_write, fd, 0, NULL}, vectors, count, done);
}

ssize_t shim_send_rest(int fd, const struct msghdr *message, int flags, ssize_t done)
{
	flags &= ~MSG_FASTOPEN;
	return move_rest(&(struct rest){call_send, fd, flags, message}, message->msg_iov, message->msg_iovlen, done);
}

/* Others give one message, whatever is asked for. */
static bool is_stream(int fd)
{
	int type = 0, saved = errno;
	socklen_t length = sizeof(type);
	bool stream = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
	errno = saved;
	return stream;
}

/* Not with what else a message may carry, which is for its bytes alone, and not what is only looked at. */
ssize_t shim_receive_rest(int fd, const struct msghdr *message, int flags, ssize_t done)
{
	if (message->msg_control != NULL || (flags & MSG_PEEK) || !is_stream(fd))
		return done;
	return move_rest(&(struct rest){call_receive, fd, flags, message}, message->msg_iov, message->msg_iovlen, done);
}

ssize_t shim_read_rest(int fd, const struct iovec *vectors, size_t count, ssize_t done)
{
	struct stat status;
	int saved = errno;
	bool endless = fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) == MEMORY_DEVICES;
	errno = saved;
	return endless ? move_rest(&(struct rest){call_read, fd, 0, NULL}, vectors, count, done) : done;
}

SHIM_EXPORT ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
	rt_local.cut_short = false;
	ssize_t done = SHIM_NEXT(getrandom)(buffer, length, flags), more;
	while (shim_cut_short(done, length)) {
		rt_local.cut_short = false;
		more = SHIM_NEXT(getrandom)((char *)buffer + done, length - (size_t)done, flags);
		if (more <= 0)
			break;
		done += more;
	}
	return done;
}
