/*
 * rings io_uring|aio: makes a ring by its own instruction, as no library can see it, says "made", and waits to be killed.
 * Exit status 77: this kernel makes none.
 */
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long call(long number, long first, void *second)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
	return result;
}

static int make_io_uring(void)
{
	struct io_uring_params params;
	memset(&params, 0, sizeof(params));
	int fd = (int)call(SYS_io_uring_setup, 4, &params);
	return fd >= 0 && mmap(NULL, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING) != MAP_FAILED;
}

static int make_aio(void)
{
	aio_context_t context = 0;
	return call(SYS_io_setup, 4, &context) == 0;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	if (!(strcmp(argv[1], "aio") == 0 ? make_aio() : make_io_uring()))
		return 77;
	puts("made");
	fflush(stdout);
	for (;;)
		pause();
}
