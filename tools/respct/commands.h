/* The subcommands of respct; each gets its own name as argv[0] and returns the exit status. */
#ifndef RESPCT_COMMANDS_H
#define RESPCT_COMMANDS_H

#include "store/store.h"

int command_run(int argc, char **argv);
int command_ls(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_stat(int argc, char **argv);
int command_check(int argc, char **argv);
int command_crash(int argc, char **argv);

/* Fills `path` (PATH_MAX bytes) with the file execvp() will take for `name`, and returns 0; failing that an exit status
 * (EXIT_NOT_FOUND, EXIT_NOT_EXECUTABLE), *problem saying why. */
int find_program(const char *name, char *path, const char **problem);

/* Refuses programs a preloaded library never gets into. */
void check_program(const char *program);

/* Prints a line about one record of a manifest; nothing when it is malformed. */
void print_record(struct store *store, uint32_t kind, const void *payload, uint32_t length);

/* Opens a store read-only, or refuse()s. */
struct store *open_for_reading(const char *directory);

const char *state_name(enum store_state state);

/* The pid in DIR/pid when that process lives and holds the store, else 0. */
int live_process(const char *directory);

/* Where stores go unless told: fills `path` (PATH_MAX bytes) with the base directory, creating it.
 * Returns whether it survives a loss of power. */
int default_base(char *path);

#endif
