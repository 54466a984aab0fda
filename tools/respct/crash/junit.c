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

/* The bytes of the UTF-8 character at `text`; 0 when it is none, or one that XML does not allow. */
static size_t character_length(const unsigned char *text)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	if (text[0] < 0x80)
		return text[0] >= ' ' || text[0] == '\t' || text[0] == '\n' || text[0] == '\r';
	size_t length = text[0] >= 0xf8 ? 0 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc2 ? 2 : 0;
	uint32_t value = length != 0 ? text[0] & (0xffU >> (length + 1)) : 0;
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (text[i] & 0x3f);
	}
	bool allowed = length != 0 && value >= least[length] && value <= 0x10ffff && value != 0xfffe && value != 0xffff &&
		       (value < 0xd800 || value > 0xdfff);
	return allowed ? length : 0;
}

char *crash_escape_xml(const char *text)
{
	char *escaped = NULL;
	size_t size;
	FILE *file = open_memstream(&escaped, &size);
	if (file == NULL)
		refuse("out of memory");
	for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
		size_t length = character_length(at);
		if (*at == '<')
			fputs("&lt;", file);
		else if (*at == '>')
			fputs("&gt;", file);
		else if (*at == '&')
			fputs("&amp;", file);
		else if (*at == '"')
			fputs("&quot;", file);
		else if (*at == '\n' || *at == '\r' || *at == '\t')
			fprintf(file, "&#%d;", *at);
		else if (length == 0)
			fputc('?', file);
		else
			fwrite(at, 1, length, file);
		at += length != 0 ? length : 1;
	}
	fclose(file);
	return escaped;
}

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
		fprintf(file, ">\n      <failure message=\"%s\" type=\"failure\">%s</failure>\n    </testcase>\n", problem,
			text);
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
