/* Clocks that never go back; see clocks.h. */
#include "clocks.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/report.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#define SECOND 1000000000L
#define OFFSETS "/proc/self/timens_offsets"
#define LATEST (1L << 61) /* ns; the kernel takes no clock further ahead */

struct clock {
	clockid_t id;
	const char *name;   /* in timens_offsets */
	int64_t checkpoint; /* its time then, ns */
	int64_t now;
	int64_t offset; /* of our own namespace, then of the new one, ns */
};

static struct clock clocks[] = {{.id = CLOCK_MONOTONIC, .name = "monotonic"},
				{.id = CLOCK_BOOTTIME, .name = "boottime"}};
static int64_t away; /* how long the process was dead, ns */
static bool behind, made;

#define CLOCKS (sizeof(clocks) / sizeof(clocks[0]))

static int64_t read_clock(clockid_t id)
{
	struct timespec now;
	clock_gettime(id, &now);
	return now.tv_sec * SECOND + now.tv_nsec;
}

void clocks_compare(const struct manifest_process *process)
{
	clocks[0].checkpoint = process->monotonic_ns;
	clocks[1].checkpoint = process->boottime_ns;
	away = read_clock(CLOCK_REALTIME) - process->realtime_ns;
	if (away < 0 || away > LATEST / 2)
		away = 0;
	for (size_t i = 0; i < CLOCKS; i++) {
		clocks[i].now = read_clock(clocks[i].id);
		behind |= clocks[i].now < clocks[i].checkpoint && clocks[i].checkpoint < LATEST / 2;
	}
}

bool clocks_need_namespace(void)
{
	return behind && !made;
}

/* Each goes on where it was, later by the time that has passed. */
static void choose_offsets(void)
{
	for (size_t i = 0; i < CLOCKS; i++)
		if (clocks[i].checkpoint < LATEST / 2 && clocks[i].now < clocks[i].checkpoint + away)
			clocks[i].offset += clocks[i].checkpoint + away - clocks[i].now;
}

/* Offsets are those to the machine's clocks: a new namespace begins with its parent's. */
static int read_offsets(void)
{
	FILE *file = fopen(OFFSETS, "re");
	char name[32];
	long seconds, nanoseconds;
	if (file == NULL)
		return -errno;
	while (fscanf(file, "%31s %ld %ld", name, &seconds, &nanoseconds) == 3)
		for (size_t i = 0; i < CLOCKS; i++)
			if (strcmp(name, clocks[i].name) == 0)
				clocks[i].offset = seconds * SECOND + nanoseconds;
	fclose(file);
	return 0;
}

static int write_offsets(void)
{
	char text[256];
	int length = 0;
	for (size_t i = 0; i < CLOCKS; i++) {
		int64_t seconds = clocks[i].offset / SECOND, nanoseconds = clocks[i].offset % SECOND;
		if (nanoseconds < 0) {
			nanoseconds += SECOND;
			seconds--;
		}
		length += snprintf(text + length, sizeof(text) - (size_t)length, "%s %ld %ld\n", clocks[i].name,
				   (long)seconds, (long)nanoseconds);
	}
	int fd = open(OFFSETS, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int result = write(fd, text, (size_t)length) == length ? 0 : -errno;
	close(fd);
	return result;
}

int clocks_make_namespace(void)
{
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	int result = read_offsets();
	if (result < 0)
		return result;
	choose_offsets();
	if ((result = write_offsets()) == 0)
		made = true;
	return result;
}

void clocks_report(int error)
{
	behind = false;
	report("CLOCK_MONOTONIC has been set back by %ld seconds (a restart of the machine?), and a time namespace "
	       "that would hide it is not permitted: %s",
	       (long)((clocks[0].checkpoint - clocks[0].now) / SECOND), strerror(-error));
}
