/* Reproducible pseudo-random numbers (splitmix64) for a test, which is a process of its own. */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>
#include <stdlib.h>

static uint64_t random_state = 1;

/* Starts from RESPCT_TEST_SEED, or from `usual`; returns which. */
static inline uint64_t seed_random(uint64_t usual)
{
	const char *given = getenv("RESPCT_TEST_SEED");
	return random_state = given ? strtoull(given, NULL, 0) : usual;
}

static inline uint64_t next_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15UL;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
	return z ^ (z >> 31);
}

/* Any of 0 ... limit - 1. */
static inline uint64_t random_below(uint64_t limit)
{
	return next_random() % limit;
}

#endif
