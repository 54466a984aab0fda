/*
 * Calls that move many bytes, or messages, and that a signal ends with a part of them. A program without signal handlers
 * asks a blocking descriptor for all and gets all; so that our signal is not seen, the wrapper asks for the rest.
 *
 * That a call gives less and its thread was stopped meanwhile does not mean that one was for the other. To ask for the
 * rest does no harm then: a descriptor that does not block says so, an error is left for the program's next call.
 */
#ifndef SHIM_REST_H
#define SHIM_REST_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "threads/thread.h"

/* Whether a call that gave `done` of `wanted` may have been ended by a stop since rt_local.cut_short was cleared, and by no
 * handler of the program's. */
static inline bool shim_cut_short(ssize_t done, size_t wanted)
{
	return __builtin_expect(done > 0 && (size_t)done < wanted && rt_local.cut_short, 0);
}

/* All bytes of `vectors`, which are valid. */
static inline size_t shim_vector_length(const struct iovec *vectors, size_t count)
{
	size_t length = 0;
	for (size_t i = 0; i < count; i++)
		length += vectors[i].iov_len;
	return length;
}

/* What is moved after `done` bytes of the vectors, which are more; `done` added. errno stays. */
ssize_t shim_write_rest(int fd, const struct iovec *vectors, size_t count, ssize_t done);
ssize_t shim_send_rest(int fd, const struct msghdr *message, int flags, ssize_t done);
ssize_t shim_receive_rest(int fd, const struct msghdr *message, int flags, ssize_t done);

/* The same for what is read, if it is from a device that has no end: all other reads may give less. */
ssize_t shim_read_rest(int fd, const struct iovec *vectors, size_t count, ssize_t done);

#endif
