#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void report_arguments(const char *format, va_list arguments)
{
	/* One write, so that lines of several processes do not mix. */
	char line[4096];
	int length = snprintf(line, sizeof(line) - 1, "%s: ", program_invocation_short_name);
	vsnprintf(line + length, sizeof(line) - 1 - (size_t)length, format, arguments);
	fprintf(stderr, "%s\n", line);
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
