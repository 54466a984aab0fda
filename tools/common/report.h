/* How the commands talk: one line on stderr, and the exit status that goes with it. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#define EXIT_TOOL_FAILED 125 /* the command itself failed, as env(1) has it */
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127

/* Prints "COMMAND: " + the text + newline. */
void report(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on to another descriptor than stderr. */
void report_to(int fd);

/* report(), then exit(EXIT_TOOL_FAILED). */
void refuse(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

struct argp;

/* argp_parse() whose complaints are one line of ours. */
void parse_arguments(const struct argp *parser, int argc, char **argv, unsigned flags, void *input);

#endif
