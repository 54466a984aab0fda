/* The record of a crash (runtime/life/crash.h): an input is the file `crash` of a store. It is read, put into words,
 * and unwound. */
#include <sys/stat.h>

#include "fuzz.h"
#include "sandbox.h"
#include "tools/common/crash_record.h"
#include "tools/respct/backtrace.h"

static void use(uint8_t *input, size_t size)
{
	struct crash_record record;
	char text[256];
	mkdir("/store", 0700);
	sandbox_write("/store/crash", input, size);
	if (!crash_read("/store", &record))
		return;
	crash_describe(&record, text, sizeof(text));
	print_backtrace(&record);
	crash_free(&record);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	return fuzz_need_sandbox();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	sandbox_run(use, data, size);
	return 0;
}
