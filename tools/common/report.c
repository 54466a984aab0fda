#include "report.h"

#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plain.h"

static int report_fd = STDERR_FILENO;

void report_to(int fd)
{
	report_fd = fd;
}

static void report_arguments(const char *format, va_list arguments)
{
	/* One write, so that lines of several processes do not mix. */
	char line[4096];
	int length = snprintf(line, sizeof(line) - 1, "%s: ", program_invocation_short_name);
	vsnprintf(line + length, sizeof(line) - 1 - (size_t)length, format, arguments);
	dprintf(report_fd, "%s\n", make_plain(line));
}

void report(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	report_arguments(format, arguments);
	va_end(arguments);
}

void refuse(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	report_arguments(format, arguments);
	va_end(arguments);
	exit(EXIT_TOOL_FAILED);
}

/* Whether the options ask for help; without its own complaints argp would not give any. */
static bool asks_for_help(int argc, char **argv)
{
	static const char *const words[] = {"--help", "-?", "--usage", "--version"};
	for (int i = 1; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++)
		for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++)
			if (strcmp(argv[i], words[j]) == 0)
				return true;
	return false;
}

void parse_arguments(const struct argp *parser, int argc, char **argv, unsigned flags, void *input)
{
	int index = 0;
	argp_err_exit_status = EXIT_TOOL_FAILED;
	if (!asks_for_help(argc, argv))
		flags |= ARGP_NO_ERRS;
	if (argp_parse(parser, argc, argv, flags, &index, input) == 0)
		return;
	index = index > 1 ? index - 1 : 1;
	refuse("%s: wrong option, or its value is missing (try --help)", index < argc ? argv[index] : argv[argc - 1]);
}
