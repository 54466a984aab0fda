/* runtime/base/fail.c: reading a setting, and what happens when a point is reached. */
#include <criterion/criterion.h>
#include <errno.h>

#include "runtime/base/fail.h"

static int parse(const char *text)
{
	struct rt_fail_settings settings;
	return rt_fail_parse(text, &settings);
}

Test(fail, names_differ)
{
	for (int i = 0; i < RT_FAIL_COUNT; i++)
		for (int j = 0; j < i; j++)
			cr_assert(strcmp(rt_fail_names[i], rt_fail_names[j]) != 0, "%s", rt_fail_names[i]);
}

Test(fail, reads_settings)
{
	struct rt_fail_settings settings;
	cr_assert_eq(rt_fail_parse("commit.record:kill", &settings), 0);
	cr_assert(settings.entries[0].point == RT_FAIL_COMMIT_RECORD && settings.entries[0].action == RT_FAIL_KILL);
	cr_assert(settings.entries[0].first == 1 && settings.entries[0].last == 1);
	cr_assert_eq(rt_fail_parse("any:stop:17:0", &settings), 0);
	cr_assert(settings.entries[0].point == RT_FAIL_ANY && settings.entries[0].action == RT_FAIL_STOP);
	cr_assert(settings.entries[0].first == 17 && settings.entries[0].last == UINT64_MAX);
	cr_assert_eq(rt_fail_parse("store.grow:enospc:3:4", &settings), 0);
	cr_assert(settings.entries[0].action == ENOSPC && settings.entries[0].first == 3 &&
		  settings.entries[0].last == 6);
}

Test(fail, refuses_what_makes_no_sense)
{
	const char *const wrong[] = {"",
				     "commit",
				     "commit.record",
				     "commit.record:",
				     "commit.recor:kill",
				     "commit.record:die",
				     "commit.record:kill:",
				     "commit.record:kill:0",
				     "commit.record:kill:x",
				     "commit.record:kill:1:",
				     "commit.record:kill:1:2:3",
				     "commit.record:kill 1",
				     "commit.record:kill,",
				     ",commit.record:kill",
				     "any:kill,any:kill,any:kill,any:kill,any:kill,any:kill,any:kill,any:kill,any:kill",
				     "commit.done:eio"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_assert_eq(parse(wrong[i]), -EINVAL, "\"%s\"", wrong[i]);
}

Test(fail, counts)
{
	struct rt_fail_settings settings;
	rt_fail_parse("store.grow:enospc:2:2", &settings);
	rt_fail_settings = &settings;
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), 0);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_MAP), 0);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), -ENOSPC);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), -ENOSPC);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), 0);
}

Test(fail, counts_all_points_together)
{
	struct rt_fail_settings settings;
	rt_fail_parse("any:eio:2", &settings);
	rt_fail_settings = &settings;
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), 0);
	cr_assert_eq(rt_fail(RT_FAIL_COMMIT_DONE), 0, "an error where none can happen");
	cr_assert_eq(rt_fail(RT_FAIL_STORE_MAP), -EIO);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_MAP), 0);
}

Test(fail, counts_each_setting_by_itself)
{
	struct rt_fail_settings settings;
	rt_fail_parse("store.grow:enospc:2,any:eio:4:2,store.map:enomem:1:0", &settings);
	cr_assert_eq(settings.count, 3);
	rt_fail_settings = &settings;
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), 0);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), -ENOSPC);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), 0);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_MAP), -EIO);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), -EIO);
	cr_assert_eq(rt_fail(RT_FAIL_STORE_MAP), -ENOMEM);
}

Test(fail, nothing_is_set)
{
	cr_assert_eq(rt_fail(RT_FAIL_STORE_GROW), 0);
}

Test(fail, kills, .signal = SIGKILL)
{
	struct rt_fail_settings settings;
	rt_fail_parse("store.map:kill", &settings);
	rt_fail_settings = &settings;
	rt_fail(RT_FAIL_STORE_MAP);
}
