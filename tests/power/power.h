/* The tests of power loss; each returns an exit status. */
#ifndef TEST_POWER_POWER_H
#define TEST_POWER_POWER_H

#include "model.h"

struct options {
	uint64_t states; /* at least so many */
	uint64_t seed;
	unsigned jobs;
	unsigned thorough; /* how many times as much as usual */
};

/* A few operations, all states of each instant where they can be counted. */
int test_small(const struct options *options);
/* Runs of all operations, each beginning with what a crash of the one before left. */
int test_random(const struct options *options);
/* The protocol broken on purpose. */
int test_mutants(const struct options *options);
int test_undo_log(const struct options *options);

/* How bytes become durable. */
struct medium_kind {
	const char *name;
	enum store_durability durability;
	bool is_pmem;
};
extern const struct medium_kind medium_kinds[3];

/* Operations by number; the first one makes the store. */
extern const unsigned scenarios;
void run_scenario(struct run *run, unsigned number);

#endif
