/*
 * The plan: all that the restorer needs to rebuild a process, in one block of memory.
 *
 * respct-restore writes it at PLAN_BLOCK_BASE together with the restorer's code; the restorer runs
 * from there when nothing else is left in the address space. Pointers in it point into the block.
 */
#ifndef RESTORE_PLAN_H
#define RESTORE_PLAN_H

#include <stdint.h>

#include "layout.h"
#include "life/resume.h"
#include "manifest.h"

/* How far the restore came; a shared page at RT_RESTORER_BASE, below the block. */
enum restore_outcome {
	RESTORE_PREPARING = 0,
	RESTORE_NUMBER_TAKEN = 1, /* a thread's number is in use by somebody else: nothing was changed */
	RESTORE_RUNNING = 2,      /* the program runs */
};

#define PLAN_OUTCOME ((volatile uint32_t *)RT_RESTORER_BASE)
/* In that page, too: where the restorer's messages go, once the program's descriptors are there. */
#define PLAN_MESSAGE_FD ((volatile int32_t *)(RT_RESTORER_BASE + 4))
#define PLAN_BLOCK_BASE (RT_RESTORER_BASE + 4096)

#define PLAN_MAX_SPECIAL 8
#define PLAN_MAX_PATCHES 32
#define PLAN_MAX_VDSO_PAGES 16
#define PLAN_THREAD_STACK 16384 /* bytes of stack a thread has in the restorer */

/* One mmap(). */
struct plan_region {
	uint64_t start, end, offset;
	uint32_t prot;           /* in the end; pages are loaded before */
	int32_t flags;           /* MAP_* */
	int32_t fd;              /* -1: anonymous */
	uint32_t load;           /* has pages to load: mapped writable first */
	int32_t segment;         /* System V segment to attach, -1: none */
	uint32_t attached;       /* the attachment of the region before this one goes on here */
	uint64_t segment_end;    /* where the attachment is to end */
	uint32_t remove_segment; /* it is marked to be removed */
	uint32_t pad;
};

/* Bytes that are written over what was loaded: a jump in the vDSO of another kernel. */
struct plan_patch {
	uint64_t address;
	uint8_t length, bytes[7];
};

/* F_SEAL_* that go on a memfd once it is mapped. */
struct plan_seal {
	int32_t fd;
	uint32_t seals;
};

/* `length` bytes at `offset` of `fd` go to `address`. */
struct plan_load {
	uint64_t address, length, offset;
	int32_t fd;
	int32_t pad;
};

/* One of the kernel's own mappings ([vvar], [vdso]) and the place it must be moved to. */
struct plan_special {
	uint64_t start, length, target;
};

struct plan_thread {
	struct manifest_thread state;
	struct plan *plan;
	uint64_t stack_top;
};

/* The kernel's struct prctl_mm_map. */
struct plan_mm_map {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t auxv;
	uint32_t auxv_size;
	uint32_t exe_fd;
};

struct plan {
	uint64_t block_end;  /* of what is mapped from RT_RESTORER_BASE on */
	uint64_t stack_top;  /* of the main thread in the restorer */
	uint64_t kernel_end; /* first address user memory cannot have */
	struct manifest_process process;
	struct plan_mm_map mm_map;
	struct rt_resume resume;

	struct plan_special special[PLAN_MAX_SPECIAL];
	uint32_t special_count, region_count, load_count, thread_count, signal_count, timer_count, limit_count,
		group_count, child_count, posix_timer_count, queued_signal_count, seal_count;
	struct plan_patch patches[PLAN_MAX_PATCHES];
	uint32_t patch_count;
	uint32_t foreign_vdso; /* the program's [vdso] and [vvar] are ordinary memory now */
	struct plan_seal *seals;
	struct manifest_advice *advice;
	uint32_t advice_count;
	uint32_t pad;
	struct plan_region *regions;
	struct plan_load *loads;
	struct plan_thread *threads; /* the main thread first */
	struct manifest_signal *signals;
	struct manifest_timer *timers;
	struct manifest_limit *limits;
	uint32_t *groups;
	struct manifest_child *children;
	struct manifest_posix_timer *posix_timers;
	struct manifest_queued_signal *queued_signals;

	int32_t first_own_fd; /* descriptors from here on are the tool's, closed before the resume */
	int32_t privileged;   /* the process's user, groups and capabilities can be taken, at the end */
	uint32_t ready;       /* futex: threads that wait, and again when they have their credentials */
	uint32_t refused;     /* what could not be set again: bits of enum plan_refused; atomic */
	uint32_t go;          /* futex: 1 lets them take their credentials, 2 enter the image */
};

/* In the order in which they are named. */
enum plan_refused {
	REFUSED_AFFINITY,
	REFUSED_SCHEDULING,
	REFUSED_NICE,
	REFUSED_IO_PRIORITY,
	REFUSED_LIMITS,
	REFUSED_KINDS,
};

/* Entry of the restorer, at the start of its code. Never returns. */
typedef void (*restorer_entry)(struct plan *plan);

#endif
