/*
 * The kernel's asynchronous I/O: io_uring and Linux AIO (io_setup()).
 *
 * Their rings belong to the kernel: it does not tell what is under way in one, and makes none in the state another was
 * in. So a program that asks for one is told ENOSYS, as by a kernel that has none; nearly all have another way then. The
 * child of a protected process is only told so when it may become the protected one. Rings that are made otherwise are
 * seen among the mappings at a checkpoint, and named.
 *
 * liburing and libaio do not go through libc. Their functions that make rings are here by name and version: the names
 * alone may be a program's own. The versions are those of src/liburing.map, of src/liburing-ffi.map (the same functions,
 * all of 2.4) and of libaio's src/libaio.map. All return -errno.
 */
#include "async_io.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "base/message.h"
#include "shim/next.h"
#include "threads/thread.h"

struct io_uring;
struct io_uring_params;

bool shim_denies_async_io(long number)
{
	static int told[2];
	bool is_aio = number == SYS_io_setup;
	if ((!is_aio && number != SYS_io_uring_setup) || !rt_can_be_stopped())
		return false;
	if (__atomic_exchange_n(&told[is_aio], 1, __ATOMIC_RELAXED) == 0)
		rt_say("%s cannot be restored: the program is told that this kernel has none",
		       is_aio ? "asynchronous I/O by io_setup()" : "io_uring");
	return true;
}

/* Without protection the library's own is called; one that is not in sight of dlsym() counts as not there. */
#define MAKES_RING(number, name, version, parameters, ...)                \
	SHIM_EXPORT int shim_##name parameters;                           \
	__asm__(".symver shim_" #name "," #name "@" version);             \
	SHIM_EXPORT int shim_##name parameters                            \
	{                                                                 \
		static void *cache;                                       \
		if (shim_denies_async_io(number))                         \
			return -ENOSYS;                                   \
		__typeof__(&shim_##name) next = shim_next(&cache, #name); \
		return next == NULL ? -ENOSYS : next(__VA_ARGS__);        \
	}

MAKES_RING(SYS_io_uring_setup, io_uring_queue_init, "LIBURING_2.0",
	   (unsigned entries, struct io_uring *ring, unsigned flags), entries, ring, flags)
MAKES_RING(SYS_io_uring_setup, io_uring_queue_init_params, "LIBURING_2.0",
	   (unsigned entries, struct io_uring *ring, struct io_uring_params *params), entries, ring, params)
MAKES_RING(SYS_io_uring_setup, io_uring_queue_init_mem, "LIBURING_2.5",
	   (unsigned entries, struct io_uring *ring, struct io_uring_params *params, void *memory, size_t size),
	   entries, ring, params, memory, size)
MAKES_RING(SYS_io_uring_setup, io_uring_setup, "LIBURING_2.3", (unsigned entries, struct io_uring_params *params),
	   entries, params)
MAKES_RING(SYS_io_setup, io_setup, "LIBAIO_0.4", (int events, void **context), events, context)
MAKES_RING(SYS_io_setup, io_queue_init, "LIBAIO_0.1", (int events, void **context), events, context)

__asm__(".symver shim_io_uring_queue_init,io_uring_queue_init@LIBURING_2.4");
__asm__(".symver shim_io_uring_queue_init_params,io_uring_queue_init_params@LIBURING_2.4");
__asm__(".symver shim_io_uring_setup,io_uring_setup@LIBURING_2.4");
