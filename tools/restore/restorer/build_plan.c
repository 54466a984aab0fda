/* Making the plan; see build_plan.h. Everything that can be refused is refused here, before the
 * old process's memory takes the place of ours. */
#include "build_plan.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"
#include "base/uapi.h"
#include "common/report.h"
#include "layout.h"
#include "restore/descriptors/object.h"
#include "restore/descriptors/replaced.h"
#include "restore/files/build_id.h"
#include "restore/files/shared.h"
#include "vdso.h"

extern const char restorer_blob[], restorer_blob_end[];

#define RSEQ_FLAG_UNREGISTER 1
#define MAIN_STACK (64 * 1024)
#define LOAD_LIMIT (1UL << 30) /* bytes of one pread(); the kernel's own limit is 2 GiB */

/* ---- files ---- */

static bool is_unchanged(const struct stat *status, uint64_t inode, uint64_t size, int64_t mtime_ns)
{
	return S_ISREG(status->st_mode) && restore_is_same_inode(inode, status->st_ino) &&
	       (uint64_t)status->st_size == size &&
	       status->st_mtim.tv_sec * 1000000000L + status->st_mtim.tv_nsec == mtime_ns;
}

static void check_region_file(const struct manifest_region *region, const char *path)
{
	struct stat status;
	if (stat(path, &status) < 0)
		refuse("%s: mapped by the program, and now: %s", path, strerror(errno));
	bool same = region->kind == REGION_FILE_SHARED
			    ? restore_is_same_inode(region->inode, status.st_ino) &&
				      (uint64_t)status.st_size >= region->size
			    : is_unchanged(&status, region->inode, region->size, region->mtime_ns) ||
				      file_has_build_id(path, region->build_id);
	if (!same)
		refuse("%s: mapped by the program, changed since the checkpoint: put the old file back", path);
}

void check_files(const struct image *image)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *region;
	while ((region = image_next(image, &cursor, MANIFEST_REGION, &length)) != NULL)
		if ((region->kind == REGION_FILE_PRIVATE && !(region->flags & REGION_OBJECT)) ||
		    region->kind == REGION_FILE_SHARED)
			check_region_file(region, image_region_path(region, length));
}

static int move_up(int fd, int lowest_fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, lowest_fd);
	if (high < 0)
		refuse("cannot keep a descriptor out of the program's way: %s", strerror(errno));
	close(fd);
	return high;
}

static int open_file(const char *path, bool writable, int lowest_fd)
{
	const int flags = O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	struct stat status;
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | flags);
	if (fd < 0 && writable)
		fd = open(path, O_RDONLY | flags);
	if (fd < 0 || fstat(fd, &status) < 0)
		refuse("%s: %s", path, strerror(errno));
	if (S_ISFIFO(status.st_mode) || S_ISDIR(status.st_mode))
		refuse("%s: mapped by the program, and now another type of file: put the old file back", path);
	return move_up(fd, lowest_fd);
}

/* ---- the block ---- */

struct block {
	char *base;
	size_t used, size;
};

/* Room in the block; 16-byte aligned. */
static void *take(struct block *block, size_t bytes)
{
	void *start = block->base + block->used;
	block->used += (bytes + 15) & ~(size_t)15;
	if (block->used > block->size)
		refuse("the plan does not fit: a defect");
	return start;
}

static struct block make_block(size_t size)
{
	struct block block = {.size = RT_PAGE_ALIGN_UP(size)};
	block.base = mmap((void *)PLAN_BLOCK_BASE, block.size, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (block.base != (void *)PLAN_BLOCK_BASE)
		refuse("cannot place the restorer: %s", strerror(errno));
	return block;
}

/* ---- its parts ---- */

/* The files of neighbouring regions are mostly the same: opened once. */
struct last_file {
	char path[4096];
	int fd;
	bool writable;
};

static int region_file(const char *path, bool writable, struct last_file *last, int lowest_fd)
{
	if (last->fd >= 0 && strcmp(last->path, path) == 0 && last->writable == writable)
		return last->fd;
	snprintf(last->path, sizeof(last->path), "%s", path);
	last->writable = writable;
	last->fd = open_file(path, writable, lowest_fd);
	return last->fd;
}

static void plan_one_region(const struct manifest_region *record, const char *path, struct plan_region *region,
			    struct last_file *last, int lowest_fd)
{
	region->start = record->start;
	region->end = record->end;
	region->prot = record->prot;
	region->fd = -1;
	switch (record->kind) {
	case REGION_FILE_PRIVATE:
	case REGION_FILE_SHARED:
	case REGION_FILE_MEMORY:
		region->flags = record->kind == REGION_FILE_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
		region->offset = record->offset;
		region->fd = shared_region_fd(record);
		if (region->fd < 0)
			region->fd = region_file(path, record->kind == REGION_FILE_SHARED, last, lowest_fd);
		break;
	case REGION_ANONYMOUS_SHARED:
		region->fd = shared_region_fd(record);
		region->offset = record->offset;
		region->flags = MAP_SHARED | (region->fd < 0 ? MAP_ANONYMOUS : 0);
		break;
	default:
		region->flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
		if (record->flags & REGION_GROWSDOWN)
			region->flags |= MAP_GROWSDOWN;
		if (record->page_shift != 0)
			region->flags =
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)record->page_shift << MAP_HUGE_SHIFT;
	}
}

static bool is_old_vdso(const struct image *image, const struct manifest_region *record)
{
	return record->kind == REGION_SPECIAL && record->start == image->process->vdso_start;
}

/* The pages of shared memory are in place when it is mapped. */
static bool is_loaded(const struct manifest_region *record)
{
	return record->kind == REGION_FILE_PRIVATE ||
	       (shared_region_fd(record) < 0 && !shared_region_is_segment(record));
}

static void plan_regions(const struct image *image, struct plan *plan, int lowest_fd)
{
	struct last_file last = {.fd = -1};
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *record;
	while ((record = image_next(image, &cursor, MANIFEST_REGION, &length)) != NULL) {
		if (record->kind == REGION_SPECIAL && !plan->foreign_vdso)
			continue;
		struct plan_region *region = &plan->regions[plan->region_count++];
		uint64_t page;
		plan_one_region(record, image_region_path(record, length), region, &last, lowest_fd);
		region->load = is_loaded(record) && rt_store_next_page(image->store, record->start, record->end, &page);
		region->segment = -1;
		if (is_old_vdso(image, record))
			region->load = 1;
	}
}

/* Adds a page to the loads, joining it to the last when it follows there in memory and on media. */
static int plan_page(const struct image *image, uint64_t page, struct plan_load *loads, uint32_t *count)
{
	int fd;
	uint64_t offset;
	if (rt_store_locate(image->store, page, &fd, &offset) < 0)
		return -1;
	struct plan_load *last = *count ? &loads[*count - 1] : NULL;
	if (last && last->fd == fd && last->address + last->length == page && last->offset + last->length == offset &&
	    last->length < LOAD_LIMIT) {
		last->length += RT_PAGE_SIZE;
	} else {
		if (loads)
			loads[*count] = (struct plan_load){page, RT_PAGE_SIZE, offset, fd, 0};
		(*count)++;
	}
	return 0;
}

static void plan_loads(const struct image *image, struct plan *plan)
{
	uint64_t page = 0;
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *record;
	while ((record = image_next(image, &cursor, MANIFEST_REGION, &length)) != NULL)
		for (uint64_t at = is_loaded(record) ? record->start : record->end;
		     rt_store_next_page(image->store, at, record->end, &page); at = page + RT_PAGE_SIZE)
			if (plan_page(image, page, plan->loads, &plan->load_count) < 0)
				refuse("the store lost page 0x%lx: a defect", (unsigned long)page);
}

/* The vDSO of another kernel is kept in the store at an address of its own. */
static void plan_old_vdso(const struct image *image, struct plan *plan)
{
	uint64_t start = image->process->vdso_start;
	for (uint64_t at = start; at < image->process->vdso_end; at += RT_PAGE_SIZE) {
		struct plan_load load = {.address = at, .length = RT_PAGE_SIZE};
		if (rt_store_locate(image->store, RT_STORED_VDSO + (at - start), &load.fd, &load.offset) < 0)
			refuse("the store lost its copy of the vDSO: a defect");
		plan->loads[plan->load_count++] = load;
	}
}

static void plan_threads(const struct image *image, struct plan *plan, char *stacks)
{
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_thread *record;
	while ((record = image_next(image, &cursor, MANIFEST_THREAD, &length)) != NULL) {
		struct plan_thread *thread = &plan->threads[plan->thread_count++];
		thread->state = *record;
		thread->plan = plan;
		thread->stack_top = (uint64_t)stacks + plan->thread_count * PLAN_THREAD_STACK;
		plan->resume.thread_count += !record->exited;
		plan->resume.main_has_exited |= record->exited != 0;
	}
}

#define COPY_RECORDS(kind, array, count)                                          \
	do {                                                                      \
		size_t cursor_ = 0;                                               \
		uint32_t length_;                                                 \
		const void *record_;                                              \
		while ((record_ = image_next(image, &cursor_, kind, &length_)))   \
			memcpy(&(array)[(count)++], record_, sizeof((array)[0])); \
	} while (0)

static void plan_mm_map(const struct image *image, struct plan *plan, void *auxv, int lowest_fd)
{
	const struct manifest_process *process = image->process;
	memcpy(auxv, image->auxv, image->auxv_length);
	plan->mm_map = (struct plan_mm_map){
		.start_code = process->start_code,
		.end_code = process->end_code,
		.start_data = process->start_data,
		.end_data = process->end_data,
		.start_brk = process->start_brk,
		.brk = process->brk,
		.start_stack = process->start_stack,
		.arg_start = process->arg_start,
		.arg_end = process->arg_end,
		.env_start = process->env_start,
		.env_end = process->env_end,
		.auxv = (uint64_t)auxv,
		.auxv_size = image->auxv_length,
		.exe_fd = (uint32_t)open_file(image->executable, false, lowest_fd),
	};
}

/* Counts the loads without storing them, to size the block. */
static uint32_t count_loads(const struct image *image)
{
	/* Two entries are enough to see which pages join. */
	uint32_t count = 0;
	uint64_t last_end = 0, last_offset = 0, page = 0, offset;
	int fd, last_fd = -1;
	for (uint64_t at = 0; rt_store_next_page(image->store, at, RT_USER_END, &page); at = page + RT_PAGE_SIZE) {
		if (rt_store_locate(image->store, page, &fd, &offset) < 0)
			refuse("the store lost page 0x%lx: a defect", (unsigned long)page);
		if (fd != last_fd || page != last_end || offset != last_offset)
			count++;
		last_fd = fd;
		last_end = page + RT_PAGE_SIZE;
		last_offset = offset + RT_PAGE_SIZE;
	}
	/* A region's border and LOAD_LIMIT may each cut one more; the pages of an old vDSO are loaded one by one. */
	return count + PLAN_MAX_VDSO_PAGES + image->region_count +
	       (uint32_t)(image->status.page_count * RT_PAGE_SIZE / LOAD_LIMIT) + 1;
}

static int compare_timers(const void *one, const void *other)
{
	const struct manifest_posix_timer *a = one, *b = other;
	return (a->id > b->id) - (a->id < b->id);
}

/* Ascending by number, as the restorer makes them; the kernel lists the last one first. */
static void plan_posix_timers(const struct image *image, struct plan *plan)
{
	COPY_RECORDS(MANIFEST_POSIX_TIMER, plan->posix_timers, plan->posix_timer_count);
	if (plan->posix_timer_count > 0)
		qsort(plan->posix_timers, plan->posix_timer_count, sizeof(plan->posix_timers[0]), compare_timers);
}

static uint32_t count_objects(void)
{
	uint32_t count = 0;
	while (restore_object_at(count) != NULL)
		count++;
	return count;
}

struct plan *build_plan(const struct image *image, int lowest_fd, int lock_fd)
{
	size_t code = (size_t)(restorer_blob_end - restorer_blob);
	uint32_t loads = count_loads(image);
	size_t stacks = (image->thread_count + 1) * (size_t)PLAN_THREAD_STACK;
	uint32_t seals = count_objects();
	struct block block =
		make_block(code + sizeof(struct plan) + image->region_count * sizeof(struct plan_region) +
			   loads * sizeof(struct plan_load) + image->thread_count * sizeof(struct plan_thread) +
			   image->signal_count * sizeof(struct manifest_signal) +
			   image->timer_count * sizeof(struct manifest_timer) +
			   image->limit_count * sizeof(struct manifest_limit) + image->group_count * sizeof(uint32_t) +
			   image->child_count * sizeof(struct manifest_child) +
			   image->posix_timer_count * sizeof(struct manifest_posix_timer) +
			   image->queued_signal_count * sizeof(struct manifest_queued_signal) +
			   seals * sizeof(struct plan_seal) + image->advice_count * sizeof(struct manifest_advice) +
			   image->auxv_length + MAIN_STACK + stacks + 64 * 16);
	memcpy(take(&block, code), restorer_blob, code);
	struct plan *plan = take(&block, sizeof(*plan));
	plan->block_end = PLAN_BLOCK_BASE + block.size;
	plan->kernel_end = RT_USER_END;
	plan->process = *image->process;
	plan->first_own_fd = lowest_fd;
	plan->privileged = geteuid() == 0;
	plan->resume.version = RT_RESUME_VERSION;
	plan->resume.lock_fd = lock_fd;
	plan->regions = take(&block, image->region_count * sizeof(struct plan_region));
	plan->loads = take(&block, loads * sizeof(struct plan_load));
	plan->threads = take(&block, image->thread_count * sizeof(struct plan_thread));
	plan->signals = take(&block, image->signal_count * sizeof(struct manifest_signal));
	plan->timers = take(&block, image->timer_count * sizeof(struct manifest_timer));
	plan->limits = take(&block, image->limit_count * sizeof(struct manifest_limit));
	plan->groups = take(&block, image->group_count * sizeof(uint32_t));
	plan->children = take(&block, image->child_count * sizeof(struct manifest_child));
	plan->posix_timers = take(&block, image->posix_timer_count * sizeof(struct manifest_posix_timer));
	plan->queued_signals = take(&block, image->queued_signal_count * sizeof(struct manifest_queued_signal));
	plan->seals = take(&block, seals * sizeof(struct plan_seal));
	plan->advice = take(&block, image->advice_count * sizeof(struct manifest_advice));
	plan->group_count = image->group_count;
	if (image->group_count)
		memcpy(plan->groups, image->groups, image->group_count * sizeof(uint32_t));
	plan_mm_map(image, plan, take(&block, image->auxv_length), lowest_fd);
	plan->stack_top = (uint64_t)take(&block, MAIN_STACK) + MAIN_STACK;
	plan_vdso(image, plan);
	plan_regions(image, plan, lowest_fd);
	plan_loads(image, plan);
	if (plan->foreign_vdso)
		plan_old_vdso(image, plan);
	plan_threads(image, plan, take(&block, stacks));
	COPY_RECORDS(MANIFEST_ADVICE, plan->advice, plan->advice_count);
	COPY_RECORDS(MANIFEST_SIGNAL, plan->signals, plan->signal_count);
	COPY_RECORDS(MANIFEST_TIMER, plan->timers, plan->timer_count);
	COPY_RECORDS(MANIFEST_LIMIT, plan->limits, plan->limit_count);
	plan_posix_timers(image, plan);
	COPY_RECORDS(MANIFEST_CHILD, plan->children, plan->child_count);
	COPY_RECORDS(MANIFEST_QUEUED_SIGNAL, plan->queued_signals, plan->queued_signal_count);
	return plan;
}

/*
 * Known only when everything else is done: identifiers of System V segments, and seals that forbid
 * mappings the program has.
 */
void complete_plan(const struct image *image, struct plan *plan)
{
	size_t cursor = 0;
	uint32_t length, i = 0;
	const struct manifest_region *record;
	struct plan_region *first = NULL;
	while ((record = image_next(image, &cursor, MANIFEST_REGION, &length)) != NULL) {
		if (record->kind == REGION_SPECIAL && !plan->foreign_vdso)
			continue;
		struct plan_region *region = &plan->regions[i++];
		bool remove;
		region->segment = shared_region_segment(record, &remove);
		region->remove_segment = remove;
		region->segment_end = region->end;
		region->attached = first != NULL && region->segment >= 0 && first->segment == region->segment &&
				   first->segment_end == region->start &&
				   first->offset + (region->start - first->start) == region->offset;
		if (region->attached)
			first->segment_end = region->end;
		else
			first = region;
	}
	const struct shared_object *object;
	for (uint32_t j = 0; (object = restore_object_at(j)) != NULL; j++)
		if (object->late_seals != 0)
			plan->seals[plan->seal_count++] = (struct plan_seal){object->fd, object->late_seals};
}

/* libc has registered an area that is about to be unmapped; the kernel would write to it. */
static void unregister_rseq(void)
{
	extern const ptrdiff_t __rseq_offset __attribute__((weak));
	extern const unsigned int __rseq_size __attribute__((weak));
	if (&__rseq_size == NULL || __rseq_size == 0)
		return;
	char *thread_pointer = __builtin_thread_pointer();
	syscall(SYS_rseq, thread_pointer + __rseq_offset, 32, RSEQ_FLAG_UNREGISTER, RT_RSEQ_SIGNATURE);
}

void enter_restorer(struct plan *plan)
{
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	unsigned long every = ~0UL; /* libc leaves its own two signals out */
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &every, NULL, sizeof(every));
	unregister_rseq();
	void (*entry)(struct plan *, uint64_t) = (void (*)(struct plan *, uint64_t))PLAN_BLOCK_BASE;
	entry(plan, plan->stack_top);
	__builtin_unreachable();
}
