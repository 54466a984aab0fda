/*
 * Which kill comes when; see crash.h.
 *
 * Each kill is drawn from the seed and its number alone. So the same session can be had again, whatever came between: a
 * run that ended sooner, a kill that came too late.
 */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "common/children.h"
#include "crash.h"

#define MOST_TIMES 4 /* a step is taken the first to the fourth time it is reached */
#define MOST_ANY 120 /* steps of any kind */

static double draw(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / (double)(1UL << 53);
}

static unsigned draw_below(uint64_t *state, unsigned limit)
{
	return (unsigned)(draw(state) * limit);
}

static enum kill_kind draw_kind(uint64_t *state, enum crash_mode mode)
{
	double chance = draw(state);
	if (mode == MODE_COMMIT)
		return KILL_STEP;
	if (mode == MODE_RANDOM)
		return chance < 0.2 ? KILL_EARLY : KILL_RANDOM;
	if (chance < 0.25)
		return KILL_RANDOM;
	if (chance < 0.4)
		return KILL_EARLY;
	if (chance < 0.55)
		return KILL_RESTORE;
	return chance < 0.8 ? KILL_STEP : KILL_RESTORE_STEP;
}

/* Whether the fail point is one of a checkpoint (else of a restore), as the names say. */
static bool is_of_kind(const char *name, enum kill_kind kind)
{
	static const char *const of_checkpoint[] = {"checkpoint.", "commit.", "record.", "settle.", "store."};
	static const char *const of_restore[] = {"restore.", "restorer.", "resume."};
	const char *const *prefixes = kind == KILL_STEP ? of_checkpoint : of_restore;
	size_t count = kind == KILL_STEP ? sizeof(of_checkpoint) / sizeof(of_checkpoint[0])
					 : sizeof(of_restore) / sizeof(of_restore[0]);
	for (size_t i = 0; i < count; i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

static void draw_step(uint64_t *state, enum crash_mode mode, struct planned_kill *planned)
{
	const char *names[RT_FAIL_COUNT];
	unsigned count = 0;
	/* All the steps that a life comes to, in one count: the frequent ones get their share. */
	if (mode == MODE_ALL && planned->kind == KILL_STEP && draw(state) < 0.4) {
		snprintf(planned->step, sizeof(planned->step), "any:kill:%u", 1 + draw_below(state, MOST_ANY));
		return;
	}
	for (int i = 0; i < RT_FAIL_COUNT; i++)
		if (is_of_kind(rt_fail_names[i], planned->kind))
			names[count++] = rt_fail_names[i];
	const char *name = names[draw_below(state, count)];
	unsigned times = 1 + (planned->kind == KILL_STEP ? draw_below(state, MOST_TIMES) : 0);
	snprintf(planned->step, sizeof(planned->step), "%s:kill:%u", name, times);
}

void crash_plan(uint64_t seed, enum crash_mode mode, unsigned number, struct planned_kill *planned)
{
	uint64_t state = seed ^ (uint64_t)number * 0xd1342543de82ef95;
	*planned = (struct planned_kill){.kind = draw_kind(&state, mode)};
	planned->instant = draw(&state);
	planned->second = draw(&state);
	if (planned->kind == KILL_STEP || planned->kind == KILL_RESTORE_STEP)
		draw_step(&state, mode, planned);
}
