/* respct: the command line around protected programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "common/report.h"

static const char help[] = "Usage: respct run [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
			   "   or: respct ls\n"
			   "   or: respct inspect STORE\n"
			   "   or: respct stat STORE\n"
			   "   or: respct check\n"
			   "   or: respct crash [OPTION...] [--] PROGRAM [ARGUMENT...]\n"
			   "Run programs so that they survive their own death; respct-restore brings them back.\n"
			   "\n"
			   "  run        run PROGRAM, capturing it many times a second into a store\n"
			   "  ls         list the stores in the default place\n"
			   "  inspect    show what the checkpoint in a store holds\n"
			   "  stat       show figures of a store, one \"key: value\" a line\n"
			   "  check      say what this machine can do\n"
			   "  crash      kill PROGRAM again and again, restore it, and say whether it could tell\n"
			   "\n"
			   "`respct COMMAND --help' explains a command. Exit status 125: respct itself failed.\n";

static const struct {
	const char *name;
	int (*function)(int argc, char **argv);
} commands[] = {
	{"run", command_run},   {"ls", command_ls},       {"inspect", command_inspect},
	{"stat", command_stat}, {"check", command_check}, {"crash", command_crash},
};

int main(int argc, char **argv)
{
	if (argc < 2)
		refuse("which command? (try --help)");
	if (strcmp(argv[1], "--help") == 0) {
		fputs(help, stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("respct " RESPCT_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].function(argc - 1, argv + 1);
	refuse("%s: no such command (try --help)", argv[1]);
}
