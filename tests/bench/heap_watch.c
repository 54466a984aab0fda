/*
 * Measures a protected `heap` (heap.c) from outside.
 *
 *   heap_watch ready STATE STORE          waits until the heap is written and WARM checkpoints came after
 *   heap_watch stops STATE STORE SECONDS  the stops of the next SECONDS, from STORE/statistics, which
 *                                         is what `respct stat` shows, but without the first stops
 *   heap_watch restore STATE STORE        restores the killed program; prints the time from the start
 *                                         of respct-restore to the program's next step; kills it
 *
 * Prints "key value" lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/report.h"
#include "engine.h"
#include "heap.h"
#include "tests/e2e/harness.h"

#define WARM 5
#define TIMEOUT_NS 120000000000L

static struct heap_state *map_state(const char *path)
{
	int64_t deadline = heap_now_ns() + TIMEOUT_NS;
	for (; heap_now_ns() < deadline; usleep(10000)) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
		void *state = size < (off_t)sizeof(struct heap_state)
				      ? MAP_FAILED
				      : mmap(NULL, sizeof(struct heap_state), PROT_READ, MAP_SHARED, fd, 0);
		if (fd >= 0)
			close(fd);
		if (state != MAP_FAILED)
			return state;
	}
	refuse("%s: the program has not started", path);
}

/* False when there is none yet. */
static bool read_statistics(const char *store, struct engine_statistics *statistics)
{
	int fd = open(format_text("%s/statistics", store), O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, statistics, sizeof(*statistics));
	if (fd >= 0)
		close(fd);
	return got == (ssize_t)sizeof(*statistics);
}

static void wait_until_ready(const struct heap_state *state, const char *store)
{
	static struct engine_statistics statistics;
	int64_t deadline = heap_now_ns() + TIMEOUT_NS;
	while (!__atomic_load_n(&state->ready, __ATOMIC_ACQUIRE) && heap_now_ns() < deadline)
		usleep(10000);
	uint64_t wanted = read_statistics(store, &statistics) ? statistics.checkpoints + WARM : WARM;
	while (!read_statistics(store, &statistics) || statistics.checkpoints < wanted) {
		if (heap_now_ns() > deadline)
			refuse("%s: no checkpoints", store);
		usleep(10000);
	}
}

/* ---- stops ---- */

static int compare_times(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void print_parked(const struct engine_statistics *before, const struct engine_statistics *after)
{
	static uint32_t times[PARKED_SAMPLES];
	uint64_t first = before->stops, count = 0;
	if (after->stops - first > PARKED_SAMPLES)
		first = after->stops - PARKED_SAMPLES;
	for (uint64_t i = first; i < after->stops; i++)
		times[count++] = after->parked_ns[i % PARKED_SAMPLES];
	if (count == 0)
		refuse("no stop in this time");
	qsort(times, count, sizeof(times[0]), compare_times);
	printf("stops %lu\n", (unsigned long)count);
	printf("parked_us_median %.1f\n", times[count / 2] / 1e3);
	printf("parked_us_p99 %.1f\n", times[count * 99 / 100] / 1e3);
}

static void watch_stops(const struct heap_state *state, const char *store, unsigned seconds)
{
	static struct engine_statistics before, after;
	if (!read_statistics(store, &before))
		refuse("%s: no statistics", store);
	uint64_t dirtied = __atomic_load_n(&state->dirtied, __ATOMIC_RELAXED);
	int64_t started = heap_now_ns();
	sleep(seconds);
	dirtied = __atomic_load_n(&state->dirtied, __ATOMIC_RELAXED) - dirtied;
	int64_t elapsed = heap_now_ns() - started;
	if (!read_statistics(store, &after))
		refuse("%s: no statistics", store);
	uint64_t written = after.pages_written + after.pages_precopied - before.pages_written - before.pages_precopied;
	uint64_t stops = after.stops - before.stops;
	print_parked(&before, &after);
	printf("interval_ms %.1f\n", (double)elapsed / 1e6 / (double)stops);
	printf("dirtied_per_64ms %.0f\n", (double)dirtied * 64e6 / (double)elapsed);
	printf("appended_per_dirtied %.4f\n", (double)written / (double)dirtied);
	printf("in_stop_per_stop %.1f\n", (double)(after.pages_written - before.pages_written) / (double)stops);
}

/* ---- restore ---- */

/* The earliest step after `started`, 0: none yet. */
static int64_t first_step_after(const struct heap_state *state, int64_t started)
{
	int64_t first = 0;
	for (int i = 0; i < HEAP_STAMPS; i++) {
		int64_t stamp = __atomic_load_n(&state->stamps[i], __ATOMIC_ACQUIRE);
		if (stamp > started && (first == 0 || stamp < first))
			first = stamp;
	}
	return first;
}

static void time_restore(const struct heap_state *state, char *store)
{
	char *arguments[] = {harness_build_path("respct-restore"), store, NULL};
	struct launch launch = {.arguments = arguments, .input = -1, .output = -1, .error = -1, .user = -1};
	int64_t started = heap_now_ns(), first;
	pid_t child = child_start(&launch);
	while ((first = first_step_after(state, started)) == 0) {
		int status;
		if (heap_now_ns() - started > TIMEOUT_NS ||
		    child_wait(child, heap_now_ns() + 1000000, -1, NULL, &status))
			refuse("%s: the program did not come back", store);
	}
	printf("restore_ms %.1f\n", (double)(first - started) / 1e6);
	children_kill();
}

int main(int argc, char **argv)
{
	harness_begin();
	if (argc < 4)
		refuse("usage: heap_watch ready|restore STATE STORE | stops STATE STORE SECONDS");
	struct heap_state *state = map_state(argv[2]);
	if (strcmp(argv[1], "ready") == 0)
		wait_until_ready(state, argv[3]);
	else if (strcmp(argv[1], "stops") == 0 && argc == 5)
		watch_stops(state, argv[3], (unsigned)atoi(argv[4]));
	else if (strcmp(argv[1], "restore") == 0)
		time_restore(state, argv[3]);
	else
		refuse("%s?", argv[1]);
	return 0;
}
