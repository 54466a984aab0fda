/* What the program with the large heap tells those who measure it: a file, mapped by both. */
#ifndef BENCH_HEAP_H
#define BENCH_HEAP_H

#include <stdint.h>
#include <time.h>

#define HEAP_STAMPS 8192 /* several seconds of steps */

struct heap_state {
	uint64_t ready;              /* every page of the heap has been written; atomic */
	uint64_t dirtied;            /* pages written since then; atomic */
	uint64_t steps;              /* steps of all threads; atomic. Step i is in stamps[i % HEAP_STAMPS] */
	int64_t stamps[HEAP_STAMPS]; /* CLOCK_MONOTONIC at the start of a step, ns */
};

static inline int64_t heap_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

#endif
