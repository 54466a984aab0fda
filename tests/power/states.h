/*
 * The states that a loss of power, or the death of the process, could leave of a recording.
 *
 * Power: at any instant, each line of 64 bytes that was changed since its file was last drained holds any
 * of the contents it has had since then; torn, each 8 bytes of it do so on their own. So it is with the
 * sizes of files, holes and names. Every subset that exists between two fences exists just before the
 * second one, too, and at the instants when somebody is told; states are made there. Where they are few,
 * all are tried; else a sample of several shapes, from a seed.
 *
 * Death of the process: exactly what was stored so far, the last store torn.
 */
#ifndef TEST_POWER_STATES_H
#define TEST_POWER_STATES_H

#include "recorder.h"

struct walk {
	const struct recording *recording;
	struct world *world; /* what is durable; each state is made in it, and taken back; journalled */
	bool process;        /* each operation is durable at once */
	bool nested;         /* called from a check: all changes will be reverted by the caller */
	unsigned samples;    /* states to try at an instant where they are too many for all */
	uint64_t exhaust;    /* how many are not too many */
	int image;           /* what recovery must find at first */
	uint64_t random;
	/* Recovers the state in `world` and compares with both images; NULL, or what is wrong. It reverts
	 * its own changes. */
	const char *(*check)(struct walk *walk, int before, int after);
	/* Called for one state in about `keep_one_in`, after its check; NULL: never. */
	void (*keep)(struct walk *walk);
	unsigned keep_one_in;
	int depth;
	size_t from;   /* no states before this operation */
	unsigned most; /* instants to look at, 0: all */
	bool quick;    /* one recovery of each state is enough */

	/* results */
	uint64_t states, instants, exhausted;
	size_t at; /* operation at which the state was made that failed */
};

/* NULL, or what is wrong with the first state that recovers to neither image. */
const char *walk_states(struct walk *walk);

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15UL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return z ^ (z >> 31);
}

static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

#endif
