/* What respct crash decides and writes: tools/respct/crash/plan.c, xml.c. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "respct/crash/crash.h"
#include "runtime/base/fail.h"

#define KILLS 4000

Test(crash_plan, depends_on_seed_and_number_alone)
{
	struct planned_kill a, b;
	unsigned equal = 0;

	for (unsigned number = KILLS; number > 0; number--) {
		crash_plan(7, MODE_ALL, number, &a);
		crash_plan(7, MODE_ALL, number, &b);
		cr_assert(a.kind == b.kind && a.instant == b.instant && a.second == b.second &&
			  !strcmp(a.step, b.step));
		crash_plan(8, MODE_ALL, number, &b);
		equal += a.instant == b.instant;
	}
	cr_assert_eq(equal, 0);
}

/* Counts the kinds of a mode, and checks what holds for each kill. */
static void count_kinds(enum crash_mode mode, unsigned counts[5])
{
	struct planned_kill planned;
	struct rt_fail_settings settings;
	const struct rt_fail *fail = &settings.entries[0];

	memset(counts, 0, 5 * sizeof(counts[0]));
	for (unsigned number = 1; number <= KILLS; number++) {
		crash_plan(1, mode, number, &planned);
		counts[planned.kind]++;
		cr_assert(planned.instant >= 0 && planned.instant < 1);
		cr_assert(planned.second >= 0 && planned.second < 1);
		if (planned.kind != KILL_STEP && planned.kind != KILL_RESTORE_STEP) {
			cr_assert_str_empty(planned.step);
			continue;
		}
		cr_assert_eq(rt_fail_parse(planned.step, &settings), 0, "%s", planned.step);
		cr_assert_eq(fail->action, RT_FAIL_KILL);
		cr_assert(fail->first >= 1 && fail->last == fail->first);
	}
}

Test(crash_plan, has_the_kinds_of_its_mode)
{
	unsigned counts[5];

	count_kinds(MODE_RANDOM, counts);
	cr_assert(counts[KILL_RANDOM] > KILLS / 2 && counts[KILL_EARLY] > KILLS / 10);
	cr_assert_eq(counts[KILL_RANDOM] + counts[KILL_EARLY], KILLS);
	count_kinds(MODE_COMMIT, counts);
	cr_assert_eq(counts[KILL_STEP], KILLS);
	count_kinds(MODE_ALL, counts);
	for (int kind = 0; kind < 5; kind++)
		cr_assert_gt(counts[kind], KILLS / 10);
}

/* Steps of a checkpoint for some, of the restore for others, and each of them in time. */
Test(crash_plan, comes_to_every_step)
{
	static unsigned times[RT_FAIL_COUNT + 1];
	struct planned_kill planned;
	struct rt_fail_settings settings;
	const struct rt_fail *fail = &settings.entries[0];

	for (unsigned number = 1; number <= KILLS * 4; number++) {
		crash_plan(3, MODE_ALL, number, &planned);
		if (planned.step[0] == '\0')
			continue;
		cr_assert_eq(rt_fail_parse(planned.step, &settings), 0);
		times[fail->point]++;
		if (fail->point == RT_FAIL_ANY)
			continue;
		bool of_restore = !strncmp(planned.step, "rest", 4) || !strncmp(planned.step, "resume", 6);
		cr_assert_eq(of_restore, planned.kind == KILL_RESTORE_STEP, "%s", planned.step);
	}
	cr_assert_gt(times[RT_FAIL_ANY], 0);
	cr_assert_gt(times[RT_FAIL_COMMIT_RECORD], 0);
	cr_assert_gt(times[RT_FAIL_SETTLE_DONE], 0);
	for (int point = RT_FAIL_RESTORE_OPENED; point < RT_FAIL_COUNT; point++)
		cr_assert_gt(times[point], 0, "%s", rt_fail_names[point]);
}

static void expect_escaped(const char *text, const char *wanted)
{
	char *escaped = crash_escape_xml(text);

	cr_assert_str_eq(escaped, wanted);
	free(escaped);
}

Test(crash_xml, escapes_what_has_a_meaning)
{
	expect_escaped("", "");
	expect_escaped("a < b && c > \"d\"", "a &lt; b &amp;&amp; c &gt; &quot;d&quot;");
	expect_escaped("one\ntwo\t", "one&#10;two&#9;");
	expect_escaped("]]>", "]]&gt;");
}

/* Neither control characters nor bytes that are no UTF-8 may stand in XML, escaped or not. */
Test(crash_xml, replaces_what_may_not_stand_there)
{
	expect_escaped("a\001b\033[0m", "a?b?[0m");
	expect_escaped("gr\303\274n \342\202\254 \360\237\230\200", "gr\303\274n \342\202\254 \360\237\230\200");
	expect_escaped("\377\303", "??");
	expect_escaped("\303", "?");
	expect_escaped("\300\257", "??"); /* too long a form of '/' */
	expect_escaped("\340\200\257", "???");
	expect_escaped("\355\240\200", "???");      /* half of a surrogate pair */
	expect_escaped("\357\277\277", "???");      /* U+FFFF */
	expect_escaped("\364\220\200\200", "????"); /* beyond U+10FFFF */
}
