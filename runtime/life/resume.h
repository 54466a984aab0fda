/*
 * The contract between the restorer and the image: bump RT_RESUME_VERSION with every change.
 *
 * The restorer has laid out the memory, re-created the descriptors and the threads (which wait)
 * and calls rt_resume() in the image, on its own stack, with all signals blocked and the main
 * thread's TLS. libc's state is as it was captured, perhaps in the middle of malloc(), so
 * nothing of libc may be called.
 */
#ifndef RT_RESUME_H
#define RT_RESUME_H

#include <stdint.h>

#include "base/fail.h"
#include "store/store.h"

#define RT_RESUME_VERSION 5

struct rt_resume {
	uint32_t version;     /* RT_RESUME_VERSION of the restorer */
	int32_t thread_count; /* threads that will leave the restorer */
	int32_t lock_fd;      /* holds the store's lock since before the restore began */
	int32_t quiet;
	int32_t track;                        /* enum rt_track_kind: what works here, whatever was used before */
	int32_t main_has_exited;              /* the main thread ends in the restorer, instead of leaving it */
	uint64_t stderr_device, stderr_inode; /* st_dev, st_ino of what respct-restore has on descriptor 2 */
	const char *problem;                  /* out: which step failed */
	struct rt_fail_settings fail;
};

/* Starts the runtime in the restored process. 0 or -errno. */
int rt_resume(struct rt_resume *resume);

#endif
