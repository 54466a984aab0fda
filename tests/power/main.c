/*
 * Loss of power and death of the process, in every state they could leave.
 *
 *   crash_states small | random | mutants | undo-log [--states N] [--seed S] [--jobs N] [--thorough N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "power.h"

static const struct {
	const char *name;
	int (*run)(const struct options *options);
} tests[] = {
	{"small", test_small},
	{"random", test_random},
	{"mutants", test_mutants},
	{"undo-log", test_undo_log},
};

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = text == NULL ? 0 : strtoull(text, &end, 0);
	if (text == NULL || *end != '\0' || end == text)
		give_up("a number is missing");
	return value;
}

static void parse(struct options *options, char **argument)
{
	for (; *argument != NULL; argument += 2) {
		uint64_t value = number(argument[1]);
		if (strcmp(*argument, "--states") == 0)
			options->states = value;
		else if (strcmp(*argument, "--seed") == 0)
			options->seed = value;
		else if (strcmp(*argument, "--jobs") == 0)
			options->jobs = (unsigned)value;
		else if (strcmp(*argument, "--thorough") == 0)
			options->thorough = (unsigned)value;
		else
			give_up("unknown option %s", *argument);
	}
}

int main(int argc, char **argv)
{
	struct options options = {.states = 10000, .seed = 1, .jobs = 1, .thorough = 1};
	if (argc < 2)
		give_up("usage: crash_states small | random | mutants | undo-log [OPTION NUMBER]...");
	parse(&options, argv + 2);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (strcmp(tests[i].name, argv[1]) == 0)
			return tests[i].run(&options);
	give_up("unknown test %s", argv[1]);
}
