/*
 * Limits of address space and data: what the runtime has mapped counts, too, and the program is not to
 * notice. The kernel's limit is the program's and that much more; the runtime moves the soft one with
 * what it maps (runtime/base/memory.c), for which the hard one leaves room.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/memory.h"
#include "root.h"
#include "shim/next.h"

#define OTHER_ROOM (64UL << 20) /* what is mapped outside of the runtime area: tables, the allocator's */
#define GROWTH_ROOM (1UL << 30) /* and three times the limit itself: log, home and index */

/* What the program has asked for, and the hard limit that the kernel has got in its place. */
struct replaced {
	bool valid;
	struct rlimit asked;
	rlim_t hard;
};

static struct replaced replaced[RLIM_NLIMITS];

static bool is_ours(pid_t pid, int resource)
{
	return (resource == RLIMIT_AS || resource == RLIMIT_DATA) && (pid == 0 || pid == getpid()) && rt_is_protected();
}

static rlim_t add(rlim_t limit, rlim_t room)
{
	return limit >= RLIM_INFINITY - room ? RLIM_INFINITY : limit + room;
}

static struct rlimit with_room(const struct rlimit *asked)
{
	rlim_t room = rt_memory_used() + OTHER_ROOM;
	rlim_t growth = asked->rlim_max > RLIM_INFINITY / 4 ? RLIM_INFINITY / 4 : 3 * asked->rlim_max;
	return (struct rlimit){
		.rlim_cur = add(asked->rlim_cur, room),
		.rlim_max = add(asked->rlim_max, room + growth + GROWTH_ROOM),
	};
}

/* The limit as the program has set it, if it is still that. */
static void show(int resource, struct rlimit *limit)
{
	const struct replaced *known = &replaced[resource];
	if (known->valid && limit->rlim_max == known->hard)
		*limit = known->asked;
}

static int set(int resource, const struct rlimit *asked)
{
	struct rlimit wider = with_room(asked);
	struct replaced *known = &replaced[resource];
	int result = SHIM_NEXT(setrlimit)(resource, &wider);
	if (result < 0 && errno == EPERM) {
		/* The hard limit may not be raised; the soft one up to it. */
		struct rlimit now;
		if (SHIM_NEXT(getrlimit)(resource, &now) < 0)
			return -1;
		show(resource, &now);
		if (asked->rlim_max > now.rlim_max) {
			errno = EPERM;
			return -1;
		}
		SHIM_NEXT(getrlimit)(resource, &now);
		wider.rlim_max = now.rlim_max;
		if (wider.rlim_cur > wider.rlim_max)
			wider.rlim_cur = wider.rlim_max;
		result = SHIM_NEXT(setrlimit)(resource, &wider);
	}
	if (result == 0)
		*known = (struct replaced){.valid = true, .asked = *asked, .hard = wider.rlim_max};
	return result;
}

SHIM_EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	if (!is_ours(0, (int)resource) || limit->rlim_cur > limit->rlim_max)
		return SHIM_NEXT(setrlimit)(resource, limit);
	int saved = errno, result = set((int)resource, limit);
	if (result == 0)
		errno = saved;
	return result;
}

SHIM_EXPORT int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	int result = SHIM_NEXT(getrlimit)(resource, limit);
	if (result == 0 && is_ours(0, (int)resource))
		show((int)resource, limit);
	return result;
}

SHIM_EXPORT int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *limit, struct rlimit *old)
{
	if (!is_ours(pid, (int)resource))
		return SHIM_NEXT(prlimit)(pid, resource, limit, old);
	struct rlimit before;
	if (SHIM_NEXT(getrlimit)(resource, &before) < 0)
		return -1;
	show((int)resource, &before);
	if (limit != NULL && setrlimit(resource, limit) < 0)
		return -1;
	if (old != NULL)
		*old = before;
	return 0;
}

/* The same functions: rlim_t has 64 bits. */

SHIM_EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	return setrlimit(resource, (const struct rlimit *)(const void *)limit);
}

SHIM_EXPORT int getrlimit64(__rlimit_resource_t resource, struct rlimit64 *limit)
{
	return getrlimit(resource, (struct rlimit *)(void *)limit);
}

SHIM_EXPORT int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *limit,
			  struct rlimit64 *old)
{
	return prlimit(pid, resource, (const struct rlimit *)(const void *)limit, (struct rlimit *)(void *)old);
}
