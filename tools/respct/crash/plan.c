/*
 * Which kill comes when; see crash.h.
 *
 * Each kill is drawn from the seed and its number alone. So the same session can be had again, whatever came between: a
 * run that ended sooner, a kill that came too late.
 */
#include "common/children.h"
#include "crash.h"

static double draw(uint64_t *state)
{
	return (double)(random_next(state) >> 11) / (double)(1UL << 53);
}

static enum kill_kind draw_kind(uint64_t *state, enum crash_mode mode)
{
	double chance = draw(state);
	if (mode == MODE_RANDOM)
		return chance < 0.2 ? KILL_EARLY : KILL_RANDOM;
	return chance < 0.4 ? KILL_RANDOM : chance < 0.6 ? KILL_EARLY : KILL_RESTORE;
}

void crash_plan(uint64_t seed, enum crash_mode mode, unsigned number, struct planned_kill *planned)
{
	uint64_t state = seed ^ (uint64_t)number * 0xd1342543de82ef95;
	*planned = (struct planned_kill){.kind = draw_kind(&state, mode)};
	planned->instant = draw(&state);
	planned->second = draw(&state);
}
