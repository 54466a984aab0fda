/* The same with the kernel's older asynchronous I/O, by libaio and by the system call. */
#include <libaio.h>
#include <sys/syscall.h>

#include "async_io.h"

static io_context_t queue;

static long transfer_by_queue(const struct transfer *transfer)
{
	struct iocb control, *controls[] = {&control};
	struct io_event event;

	if (transfer->writes)
		io_prep_pwrite(&control, transfer->fd, transfer->block, PAGE, transfer->offset);
	else
		io_prep_pread(&control, transfer->fd, transfer->block, PAGE, transfer->offset);
	CHECK_EQUAL(io_submit(queue, 1, controls), 1);
	CHECK_EQUAL(io_getevents(queue, 1, 1, &event, NULL), 1);
	return (long)event.res;
}

static int has_queues(void)
{
	io_context_t others[2] = {0};
	int has = syscall(SYS_io_setup, 4, &others[0]) == 0;

	CHECK_EQUAL(io_queue_init(4, &others[1]) == 0, has);
	queue = 0;
	CHECK_EQUAL(io_setup(8, &queue) == 0, has);
	return has;
}

int main(int argc, char **argv)
{
	return use_async_io("linux_aio", argc, argv, has_queues, transfer_by_queue);
}
