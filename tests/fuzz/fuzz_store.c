/*
 * Whole stores: an input is a sequence of sections (seal.h). The store is opened for reading, checked, shown
 * by `respct stat` and `respct inspect`, taken apart for a restore, and opened for writing, which brings its
 * pages home; then it must be sound.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "runtime/store/format.h"
#include "runtime/store/store.h"
#include "sandbox.h"
#include "seal.h"
#include "tools/respct/commands.h"
#include "tools/restore/files/undo.h"
#include "tools/restore/image.h"

#define OFFSET_LIMIT (1UL << 46)

static void path_of(uint32_t file, char *path, size_t size)
{
	snprintf(path, size, "/store/%s", fuzz_file_names[file % FUZZ_FILES]);
}

static void write_section(const struct fuzz_section *section, const uint8_t *bytes)
{
	char path[64];
	path_of(section->file, path, sizeof(path));
	uint64_t offset = section->offset % OFFSET_LIMIT;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || pwrite(fd, bytes, section->length, (off_t)offset) != (ssize_t)section->length)
		_exit(0);
	if ((section->flags & FUZZ_CUT) && ftruncate(fd, (off_t)(offset + section->length)) < 0)
		_exit(0);
	close(fd);
	if (section->flags & FUZZ_MISSING)
		unlink(path);
}

static void write_store(const uint8_t *input, size_t size)
{
	struct fuzz_section section;
	bool sealed = false;
	mkdir("/store", 0700);
	for (size_t at = 0; size - at >= sizeof(section);) {
		memcpy(&section, input + at, sizeof(section));
		sealed |= at == 0 && (section.flags & FUZZ_SEALED);
		at += sizeof(section);
		size_t padded = ((size_t)section.length + 7) & ~7UL;
		if (padded > size - at)
			break;
		write_section(&section, input + at);
		at += padded;
	}
	if (sealed)
		seal_store("/store");
}

static void run_stat(void)
{
	char *arguments[] = {"respct", "/store", NULL};
	command_stat(2, arguments);
}

static void run_inspect(void)
{
	char *arguments[] = {"respct", "/store", NULL};
	command_inspect(2, arguments);
}

static uint64_t count_pages(struct store *store)
{
	uint64_t count = 0;
	for (uint64_t page = 0; rt_store_next_page(store, page, UINT64_MAX, &page); page += 4096)
		count++;
	return count;
}

static bool open_and_check(bool writable, uint64_t *pages)
{
	struct store *store;
	int error = rt_store_open("/store", writable, SANDBOX_LOWEST_FD, &store, NULL);
	if (error < 0 && rt_store_problem()[0] == '\0')
		sandbox_fail("nothing is said of error %d\n", error);
	if (error < 0)
		return false;
	bool whole = rt_store_check(store) == 0;
	*pages = count_pages(store);
	if (*pages != rt_store_count(store, 0, UINT64_MAX))
		sandbox_fail("pages are counted wrongly\n");
	rt_store_close(store);
	return whole;
}

static void use(uint8_t *input, size_t size)
{
	uint64_t before, after;
	struct image image;
	write_store(input, size);
	sandbox_try(run_stat);
	sandbox_try(run_inspect);
	bool whole = open_and_check(false, &before);
	/* Room or a lock may be missing; but what was sound stays so. */
	if (open_and_check(true, &after) && whole && after != before)
		sandbox_fail("%lu pages became %lu\n", (unsigned long)before, (unsigned long)after);
	if (whole && (!open_and_check(false, &after) || after != before))
		sandbox_fail("a sound store is damaged by opening it: %s\n", rt_store_problem());
	image_open(&image, "/store", SANDBOX_LOWEST_FD);
	undo_changes(&image, "/store", SANDBOX_LOWEST_FD);
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

#ifdef FUZZING
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t limit, unsigned int seed)
{
	return fuzz_mutate_records(&fuzz_section_format, data, size, limit, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
				 uint8_t *out, size_t limit, unsigned int seed)
{
	return fuzz_cross_records(&fuzz_section_format, first, first_size, second, second_size, out, limit, seed);
}
#endif
