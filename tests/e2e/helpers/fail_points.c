/* Lists the fail points of runtime/base/fail.h: name, effect of an error. */
#include <stdio.h>

#include "runtime/base/fail.h"

int main(void)
{
	static const char *const effects[] = {"nothing", "suspends", "goes_by", "refuses"};
#define LINE(identifier, name, effect) printf("%s %s\n", name, effects[effect]);
	RT_FAIL_POINTS(LINE)
	return 0;
}
