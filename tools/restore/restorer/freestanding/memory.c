/* Memory: what the restorer unmaps, maps, loads and protects. */
#include "freestanding.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/uio.h>

#include "base/sys.h"
#include "layout.h"

#define GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, Linux 6.13 */

static void unmap(uint64_t start, uint64_t end)
{
	if (start < end)
		rt_sys_munmap((void *)start, end - start);
}

/* Everything goes but the restorer itself and the kernel's own mappings. */
void clear_address_space(const struct plan *plan)
{
	uint64_t at = plan->block_end;
	unmap(0, RT_RESTORER_BASE);
	for (uint32_t i = 0; i < plan->special_count; i++) {
		unmap(at, plan->special[i].start);
		at = plan->special[i].start + plan->special[i].length;
	}
	unmap(at, plan->kernel_end);
}

/* By way of a place of our own, as source and target may overlap. */
void move_special(const struct plan *plan)
{
	uint64_t halfway = plan->block_end + (1UL << 30);
	for (int pass = 0; pass < 2; pass++) {
		uint64_t between = halfway;
		for (uint32_t i = 0; i < plan->special_count; i++) {
			const struct plan_special *special = &plan->special[i];
			uint64_t from = pass == 0 ? special->start : between;
			uint64_t to = pass == 0 ? between : special->target;
			long moved = rt_syscall(SYS_mremap, from, special->length, special->length,
						MREMAP_MAYMOVE | MREMAP_FIXED, to);
			if ((uint64_t)moved != to)
				fail("moving the kernel's own mappings", to, moved);
			between += special->length;
		}
	}
}

/*
 * Attaches a System V segment for one region, and those that follow it, by way of a free place: all of
 * a segment is attached, of which the program may have unmapped parts.
 */
static void attach_segment(const struct plan *plan, const struct plan_region *region)
{
	uint64_t between = RT_PAGE_ALIGN_UP(plan->block_end) + (1UL << 30);
	uint64_t length = region->segment_end - region->start;
	long at = rt_syscall(SYS_shmat, region->segment, between, 0);
	if (at == -EACCES)
		at = rt_syscall(SYS_shmat, region->segment, between, SHM_RDONLY);
	if ((uint64_t)at != between)
		fail("attaching shared memory", region->start, at);
	long moved = rt_syscall(SYS_mremap, between + region->offset, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
				region->start);
	if ((uint64_t)moved != region->start)
		fail("attaching shared memory", region->start, moved);
	unmap(between, RT_RESTORER_END);
	long result = rt_syscall(SYS_mprotect, region->start, region->end - region->start, region->prot);
	if (result < 0)
		fail("protecting shared memory", region->start, result);
}

/* Once it is mapped everywhere: memory that is to be removed with the last mapping, or sealed. */
void finish_shared_memory(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (region->segment >= 0 && region->remove_segment)
			rt_syscall(SYS_shmctl, region->segment, IPC_RMID, NULL);
		long result = region->attached ? rt_syscall(SYS_mprotect, region->start, region->end - region->start,
							    region->prot)
					       : 0;
		if (result < 0)
			fail("protecting shared memory", region->start, result);
	}
	for (uint32_t i = 0; i < plan->seal_count; i++)
		rt_syscall(SYS_fcntl, plan->seals[i].fd, F_ADD_SEALS, plan->seals[i].seals);
}

void map_regions(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (region->segment >= 0) {
			if (!region->attached)
				attach_segment(plan, region);
			continue;
		}
		int prot = region->load ? PROT_READ | PROT_WRITE : (int)region->prot;
		void *mapped = rt_sys_mmap((void *)region->start, region->end - region->start, prot,
					   region->flags | MAP_FIXED_NOREPLACE, region->fd, (off_t)region->offset);
		if (mapped != (void *)region->start && (region->flags & MAP_HUGETLB)) {
			print("respct-restore: too few huge pages: memory that was in such is in ordinary ones now\n");
			mapped = rt_sys_mmap((void *)region->start, region->end - region->start, prot,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		}
		if (mapped != (void *)region->start)
			fail("mapping memory", region->start, (long)mapped);
	}
}

void load_pages(struct plan *plan)
{
	for (uint32_t i = 0; i < plan->load_count; i++) {
		const struct plan_load *load = &plan->loads[i];
		reach(plan, RT_FAIL_RESTORER_LOAD);
		for (uint64_t done = 0; done < load->length;) {
			ssize_t got = rt_sys_pread(load->fd, (void *)(load->address + done), load->length - done,
						   (off_t)(load->offset + done));
			if (got <= 0)
				fail("loading memory", load->address + done, got ? got : -EIO);
			done += (uint64_t)got;
		}
	}
}

void patch_memory(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->patch_count; i++)
		memcpy((void *)plan->patches[i].address, plan->patches[i].bytes, plan->patches[i].length);
}

void protect_regions(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->region_count; i++) {
		const struct plan_region *region = &plan->regions[i];
		if (!region->load || region->prot == (PROT_READ | PROT_WRITE))
			continue;
		long result = rt_syscall(SYS_mprotect, region->start, region->end - region->start, region->prot);
		if (result < 0)
			fail("protecting memory", region->start, result);
	}
}

/* Advice that a kernel does not know, or has no use for, does no harm when it is missing. */
void advise(const struct plan *plan)
{
	static const struct {
		uint32_t flag;
		int advice;
	} kinds[] = {
		{ADVICE_DONTFORK, MADV_DONTFORK},     {ADVICE_WIPEONFORK, MADV_WIPEONFORK},
		{ADVICE_DONTDUMP, MADV_DONTDUMP},     {ADVICE_MERGEABLE, MADV_MERGEABLE},
		{ADVICE_HUGEPAGE, MADV_HUGEPAGE},     {ADVICE_NOHUGEPAGE, MADV_NOHUGEPAGE},
		{ADVICE_SEQUENTIAL, MADV_SEQUENTIAL}, {ADVICE_RANDOM, MADV_RANDOM},
	};
	bool unlocked = false;
	for (uint32_t i = 0; i < plan->advice_count; i++) {
		const struct manifest_advice *advice = &plan->advice[i];
		uint64_t length = advice->end - advice->start;
		for (unsigned j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++)
			if (advice->flags & kinds[j].flag)
				rt_syscall(SYS_madvise, advice->start, length, kinds[j].advice);
		if (advice->flags & ADVICE_LOCKED)
			unlocked |= rt_syscall(SYS_mlock2, advice->start, length,
					       advice->flags & ADVICE_LOCKED_ON_FAULT ? MLOCK_ONFAULT : 0) < 0;
		long result = advice->flags & ADVICE_GUARD
				      ? rt_syscall(SYS_madvise, advice->start, length, GUARD_INSTALL)
				      : 0;
		if (result < 0)
			fail("installing a guard region (Linux 6.13)", advice->start, result);
	}
	if (unlocked)
		print("respct-restore: memory that was locked is not: the limit (ulimit -l) is too low\n");
}

/* brk, argument and environment borders, /proc/self/exe. */
void set_mm_map(struct plan *plan)
{
	long result = rt_syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &plan->mm_map, sizeof(plan->mm_map), 0);
	if (result < 0 && plan->mm_map.exe_fd != (uint32_t)-1) {
		/* /proc/self/exe needs a privilege; the borders do not. */
		plan->mm_map.exe_fd = (uint32_t)-1;
		result = rt_syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &plan->mm_map, sizeof(plan->mm_map), 0);
	}
	if (result < 0)
		fail("setting the heap's borders", plan->mm_map.start_brk, result);
}
