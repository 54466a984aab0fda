/* A program that takes io_uring where there is one, by liburing and by the system call, and has another way where there is
 * none. Its children, which are not protected, have what the kernel has. */
#include <liburing.h>
#include <sys/syscall.h>

#include "async_io.h"

static struct io_uring ring;

static long transfer_by_ring(const struct transfer *transfer)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
	struct io_uring_cqe *completion;
	long result;

	CHECK(entry != NULL);
	if (transfer->writes)
		io_uring_prep_write(entry, transfer->fd, transfer->block, PAGE, (uint64_t)transfer->offset);
	else
		io_uring_prep_read(entry, transfer->fd, transfer->block, PAGE, (uint64_t)transfer->offset);
	CHECK_EQUAL(io_uring_submit(&ring), 1);
	CHECK_EQUAL(io_uring_wait_cqe(&ring, &completion), 0);
	result = completion->res;
	io_uring_cqe_seen(&ring, completion);
	return result;
}

static int has_rings(void)
{
	struct io_uring_params params = {0};
	long fd = syscall(SYS_io_uring_setup, 4, &params);
	struct io_uring other;
	int has = io_uring_queue_init_params(4, &other, &(struct io_uring_params){0}) == 0;

	CHECK_EQUAL(fd >= 0, has);
	CHECK_EQUAL(io_uring_queue_init(8, &ring, 0) == 0, has);
	return has;
}

int main(int argc, char **argv)
{
	return use_async_io("io_uring", argc, argv, has_rings, transfer_by_ring);
}
