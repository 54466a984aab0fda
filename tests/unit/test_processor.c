/* What a processor lacks is named; more than was there before is no obstacle. */
#include <criterion/criterion.h>
#include <string.h>

#include "runtime/arch/x86_64/processor.h"
#include "tools/common/processor.h"

static struct manifest_processor here;
static char names[4096];

static void read_here(void)
{
	rt_arch_read_processor(&here);
}

TestSuite(processor, .init = read_here);

Test(processor, lacks_nothing_of_itself)
{
	cr_assert_eq(processor_missing(&here, &here, names, sizeof(names)), 0);
	cr_assert_str_empty(names);
}

Test(processor, has_what_every_one_has)
{
	cr_assert(processor_missing(&here, NULL, names, sizeof(names)) > 0);
	cr_assert_not_null(strstr(names, "pni"));
	cr_assert_neq(here.name[0], '\0');
}

Test(processor, names_what_is_missing)
{
	struct manifest_processor then = here, now = here;
	then.features[PROCESSOR_7_EBX] |= 1U << 16;
	now.features[PROCESSOR_7_EBX] &= ~(1U << 16);
	cr_assert_eq(processor_missing(&then, &now, names, sizeof(names)), 1);
	cr_assert_str_eq(names, "avx512f");
	cr_assert_eq(processor_missing(&now, &then, names, sizeof(names)), 0);
}

Test(processor, removes_by_name)
{
	struct manifest_processor now = here;
	cr_assert(processor_remove(&now, "pni"));
	cr_assert_not(processor_remove(&now, "no such feature"));
	cr_assert_eq(processor_missing(&here, &now, names, sizeof(names)), 1);
	cr_assert_str_eq(names, "pni");
}

Test(processor, state_must_lie_where_it_was)
{
	struct manifest_processor then = here, now = here;
	then.xcr0 |= 4;
	now.xcr0 |= 4;
	now.state[2].offset += 64;
	cr_assert_eq(processor_missing(&then, &now, names, sizeof(names)), 1);
	cr_assert_str_eq(names, "avx-state");
	now = then;
	now.xcr0 &= ~4UL;
	cr_assert_eq(processor_missing(&then, &now, names, sizeof(names)), 1);
}

Test(processor, names_that_do_not_fit_are_left_out_whole)
{
	struct manifest_processor then = {0};
	char few[12];
	memset(then.features, 0xff, sizeof(then.features));
	cr_assert(processor_missing(&then, NULL, few, sizeof(few)) > 20);
	cr_assert_str_eq(few, "pni ssse3");
}
