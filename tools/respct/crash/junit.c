/*
 * The result as JUnit XML, as CI servers read it (the schema of the Jenkins project): one suite, a case for each
 * point. See crash.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/children.h"
#include "common/report.h"
#include "crash.h"

static void print_case(FILE *file, const struct crash *crash, const struct crash_point *point, const char *log_tail)
{
	char *program = crash_escape_xml(crash->name), *name = crash_escape_xml(point->name);
	fprintf(file, "    <testcase classname=\"respct.%s\" name=\"%s\" time=\"%.3f\"", program, name, point->seconds);
	free(program);
	free(name);
	if (point->problem == NULL) {
		fputs("/>\n", file);
		return;
	}
	char *problem = crash_escape_xml(point->problem), *text = crash_escape_xml(log_tail);
	if (point->skipped)
		fprintf(file, ">\n      <skipped message=\"%s\"/>\n    </testcase>\n", problem);
	else
		fprintf(file, ">\n      <failure message=\"%s\" type=\"failure\">%s</failure>\n    </testcase>\n",
			problem, text);
	free(problem);
	free(text);
}

bool crash_write_junit(const struct crash *crash, const char *path, const char *log_tail)
{
	size_t failures = 0, skipped = 0;
	char when[32] = "";
	struct tm calendar;
	time_t now = time(NULL);
	FILE *file = fopen(path, "we");
	if (file == NULL)
		return false;
	for (size_t i = 0; i < crash->point_count; i++) {
		failures += crash->points[i].problem != NULL && !crash->points[i].skipped;
		skipped += crash->points[i].skipped;
	}
	if (gmtime_r(&now, &calendar) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &calendar);
	char *program = crash_escape_xml(crash->name), *line = crash_command_line(crash);
	char *again = crash_escape_xml(line);
	free(line);
	fprintf(file, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
	fprintf(file,
		"  <testsuite name=\"respct crash %s\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"%zu\" "
		"time=\"%.3f\" timestamp=\"%s\">\n",
		program, crash->point_count, failures, skipped, (double)(now_ns() - crash->began_ns) / 1e9, when);
	fprintf(file, "    <properties>\n      <property name=\"seed\" value=\"%lu\"/>\n",
		(unsigned long)crash->options.seed);
	fprintf(file, "      <property name=\"again\" value=\"%s\"/>\n    </properties>\n", again);
	for (size_t i = 0; i < crash->point_count; i++)
		print_case(file, crash, &crash->points[i], log_tail);
	fprintf(file, "  </testsuite>\n</testsuites>\n");
	free(program);
	free(again);
	bool written = ferror(file) == 0;
	return fclose(file) == 0 && written;
}
