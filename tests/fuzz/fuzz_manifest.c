/*
 * The manifest: an input is one, as the store would hand it out, its checksum right.
 *
 * All of a restore but the last step is done with it: check, show, files, shared memory, plan,
 * descriptors. Then the plan is walked through as the restorer would, which has no way back: what it reads
 * must lie in the plan, what it writes to must have been mapped.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "runtime/base/sys.h"
#include "runtime/descriptor/descriptor.h"
#include "runtime/layout.h"
#include "sandbox.h"
#include "tools/common/processor.h"
#include "tools/common/report.h"
#include "tools/respct/commands.h"
#include "tools/restore/descriptors/descriptors.h"
#include "tools/restore/files/file_bytes.h"
#include "tools/restore/files/shared.h"
#include "tools/restore/process/clocks.h"
#include "tools/restore/restorer/build_plan.h"

/* ---- the store: some pages where the mappings of programs are, and a vDSO ---- */

static const uint64_t starts[] = {RT_THREADS_BASE,    RT_WINDOW_HEAP_BASE, RT_WINDOW_STACK_BASE,
				  RT_WINDOW_MAP_BASE, RT_STORED_VDSO,      0x10000};
#define PAGES_EACH 16
#define VDSO_PAGES 2

/* What stands in page `number` of the vDSO in the store: that of this kernel. */
static void fill_page(uint8_t *page, uint64_t start, unsigned number)
{
	const uint8_t *vdso = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
	memset(page, 0, RT_PAGE_SIZE);
	if (start == RT_STORED_VDSO && number < VDSO_PAGES && vdso != NULL)
		memcpy(page, vdso + number * RT_PAGE_SIZE, RT_PAGE_SIZE);
}

static struct store *store;

/* Once, and mapped whole: inputs only read it. */
static void make_store(const char *path)
{
	static uint8_t page[RT_PAGE_SIZE];
	if (rt_store_create(path, STORE_DURABILITY_PROCESS) < 0 ||
	    rt_store_open(path, true, SANDBOX_LOWEST_FD, &store, NULL) < 0 || rt_store_begin(store) < 0)
		sandbox_fail("%s\n", rt_store_problem());
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		for (unsigned j = 0; j < PAGES_EACH; j++) {
			fill_page(page, starts[i], j);
			if (j % 5 != 4 && rt_store_append(store, starts[i] + j * RT_PAGE_SIZE, page) < 0)
				sandbox_fail("%s\n", rt_store_problem());
		}
	if (rt_store_commit(store, "", 1, 1) < 0 || rt_store_settle(store, true) < 0)
		sandbox_fail("%s\n", rt_store_problem());
	uint64_t at = 0;
	while (rt_store_next_page(store, at, UINT64_MAX, &at) && rt_store_page(store, at) != NULL)
		at += RT_PAGE_SIZE;
}

/* ---- stand-ins for what only this machine knows ---- */

static void set_inode(uint8_t *payload, size_t offset)
{
	uint64_t inode;
	memcpy(&inode, payload + offset, sizeof(inode));
	inode = sandbox_inode(inode);
	memcpy(payload + offset, &inode, sizeof(inode));
}

static void set_inodes(uint8_t *bytes, size_t length)
{
	struct manifest_reader reader = {bytes, length, 0};
	uint32_t kind, size;
	const void *payload;
	while (rt_manifest_next(&reader, &kind, &payload, &size) == 1) {
		uint8_t *at = bytes + ((const uint8_t *)payload - bytes);
		if (kind == MANIFEST_REGION && size >= sizeof(struct manifest_region))
			set_inode(at, offsetof(struct manifest_region, inode));
		if (kind == MANIFEST_DESCRIPTOR && size >= sizeof(struct manifest_descriptor))
			set_inode(at, offsetof(struct manifest_descriptor, inode));
		if (kind == MANIFEST_FILE_BYTES && size >= sizeof(struct manifest_file_bytes))
			set_inode(at, offsetof(struct manifest_file_bytes, inode));
	}
}

/* ---- the steps of a restore ---- */

static void show(const uint8_t *input, size_t size)
{
	struct manifest_reader reader = {input, size, 0};
	uint32_t kind, length;
	const void *payload;
	while (rt_manifest_next(&reader, &kind, &payload, &length) == 1)
		print_record(store, kind, payload, length);
}

static bool in_plan(const struct plan *plan, const void *array, uint64_t count, size_t size)
{
	uint64_t start = (uint64_t)array;
	return count == 0 || (start >= PLAN_BLOCK_BASE && start + count * size <= plan->block_end);
}

static bool is_mapped_for_loading(const struct plan *plan, uint64_t start, uint64_t end)
{
	for (uint32_t i = 0; i < plan->region_count; i++)
		if (plan->regions[i].load && start >= plan->regions[i].start && end <= plan->regions[i].end)
			return true;
	return false;
}

static void walk_plan(const struct plan *plan)
{
	uint64_t end = 0;
	if (!in_plan(plan, plan->regions, plan->region_count, sizeof(*plan->regions)) ||
	    !in_plan(plan, plan->loads, plan->load_count, sizeof(*plan->loads)) ||
	    !in_plan(plan, plan->threads, plan->thread_count, sizeof(*plan->threads)) ||
	    (plan->load_count > 0 && (const void *)(plan->loads + plan->load_count) > (const void *)plan->threads))
		sandbox_fail("the plan's arrays run into each other\n");
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (region->start < end || region->end <= region->start || region->end > RT_USER_END ||
		    (region->end > RT_AREA_BASE && region->start < RT_RESTORER_END))
			sandbox_fail("region %lx is planned wrongly\n", (unsigned long)region->start);
		end = region->end;
	}
	for (uint32_t i = 0; i < plan->patch_count; i++)
		if (!is_mapped_for_loading(plan, plan->patches[i].address,
					   plan->patches[i].address + plan->patches[i].length))
			sandbox_fail("a patch at %lx, where nothing is loaded\n",
				     (unsigned long)plan->patches[i].address);
	for (uint32_t i = 0; i < plan->posix_timer_count; i++)
		if (plan->posix_timers[i].id < 0)
			sandbox_fail("a timer with a negative number\n");
}

static void restore(struct image *image, int lock_fd)
{
	char problem[1024];
	struct manifest_processor here = *image->processor;
	char names[1024];
	processor_missing(image->processor, &here, names, sizeof(names));
	shared_look_around(image);
	clocks_compare(image->process);
	check_files(image);
	write_file_bytes(image);
	shared_make(image, SANDBOX_LOWEST_FD);
	struct plan *plan = build_plan(image, SANDBOX_LOWEST_FD, lock_fd);
	if (restore_descriptors(image->manifest, image->manifest_length, SANDBOX_LOWEST_FD, problem, sizeof(problem)) <
	    0)
		refuse("%s", problem);
	shared_put_back(image);
	complete_plan(image, plan);
	walk_plan(plan);
}

/* In the environment from the start. */
static char foreign[] = "RESPCT_TEST_FOREIGN_VDSO=1";

static void use(uint8_t *input, size_t size)
{
	struct image image = {.highest_descriptor = 2};
	/* Every other one as if under another kernel. */
	foreign[0] = size / 8 % 2 ? 'R' : '_';
	image.store = store;
	rt_store_status(image.store, &image.status);
	set_inodes(input, size);
	show(input, size);
	image.manifest = input;
	image.manifest_length = size;
	image_check(&image, "/store");
	int lock_fd = fcntl(0, F_DUPFD_CLOEXEC, SANDBOX_LOWEST_FD);
	if (image.highest_descriptor < SANDBOX_LOWEST_FD)
		restore(&image, lock_fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	putenv(foreign);
	fuzz_need_sandbox();
	sandbox_keep(make_store);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	sandbox_run(use, data, size);
	return 0;
}

#ifdef FUZZING
/* Records are changed one at a time, and moved as a whole: their lengths stay right, mostly. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t limit, unsigned int seed)
{
	return fuzz_mutate_records(&fuzz_manifest_format, data, size, limit, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_size, const uint8_t *second, size_t second_size,
				 uint8_t *out, size_t limit, unsigned int seed)
{
	return fuzz_cross_records(&fuzz_manifest_format, first, first_size, second, second_size, out, limit, seed);
}
#endif
