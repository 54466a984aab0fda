/*
 * The one thing that ties the image to the runtime's own memory.
 *
 * rt_root lives in the image (in librespct.so's data) and is captured like everything else.
 * The engine lives in the runtime area, outside the image, and is built anew at restore; the
 * pointer here is the only one that leads there.
 */
#ifndef RT_ROOT_H
#define RT_ROOT_H

#include <stdbool.h>
#include <stdint.h>

struct engine;

struct rt_root {
	/* A checkpoint wants the threads: read at every restart point. Written by the checkpoint thread. */
	int wanted;
	/* The protected process. A fork or vfork child sees another getpid() and stays out. */
	int pid;
	struct engine *engine;  /* NULL: not protected */
	struct engine *stopper; /* whose stops threads heed: the engine, or one that is being made */
	int signal;             /* the straggler signal */
	uint64_t own_signals;   /* those of the runtime and the shim; bit n - 1 is signal n */
	int root_changed;       /* the program has called chroot(): it cannot be found again */
	int incarnation;        /* how many times this image has been restored */
	/* Threads of the restored process that have not yet left the restorer. */
	int leaving_restorer;
	char build_id[48];    /* hexadecimal, of this library */
	char directory[4096]; /* absolute path of the store */
};

extern struct rt_root rt_root;

/* Whether the calling process is the protected one. One system call. */
bool rt_is_protected(void);

#endif
