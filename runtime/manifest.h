/*
 * The manifest: everything of a checkpoint that is not page contents.
 *
 * A sequence of records, each a `struct manifest_record` header followed by `length` bytes of
 * payload: one of the fixed structures below, then for some kinds variable data (strings with
 * their terminator, buffers). Records are padded to 8 bytes. Native byte order; the store's
 * superblock says which. The store checksums the manifest as a whole, the reader here checks
 * every length, so a damaged or hostile manifest gives -EBADMSG and nothing worse.
 *
 * To change a structure: raise STORE_FORMAT_VERSION in store/format.h.
 */
#ifndef RT_MANIFEST_H
#define RT_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum manifest_kind {
	MANIFEST_PROCESS = 1,        /* struct manifest_process, exactly one, first */
	MANIFEST_REGION = 2,         /* struct manifest_region + path */
	MANIFEST_THREAD = 3,         /* struct manifest_thread; the main thread first */
	MANIFEST_DESCRIPTOR = 4,     /* struct manifest_descriptor + its data, see descriptor.h */
	MANIFEST_SIGNAL = 5,         /* struct manifest_signal, one per signal that is not default */
	MANIFEST_AUXV = 6,           /* the auxiliary vector, raw */
	MANIFEST_PATH = 7,           /* struct manifest_path + string: cwd, executable, ... */
	MANIFEST_TIMER = 8,          /* struct manifest_timer: one interval timer */
	MANIFEST_LIMIT = 9,          /* struct manifest_limit: one resource limit */
	MANIFEST_GROUPS = 10,        /* supplementary groups: array of uint32_t */
	MANIFEST_CHILD = 11,         /* struct manifest_child, one per child not yet waited for */
	MANIFEST_POSIX_TIMER = 12,   /* struct manifest_posix_timer, in the kernel's order */
	MANIFEST_QUEUED_SIGNAL = 13, /* struct manifest_queued_signal, in the order of their receipt */
	MANIFEST_SEGMENT = 14,       /* struct manifest_segment, one per attached System V segment */
	MANIFEST_UNDO = 15,          /* struct manifest_undo: what leads files back to this checkpoint */
	MANIFEST_LOCK = 16,          /* struct manifest_lock, one per lock of a file; after the descriptors */
	MANIFEST_PROCESSOR = 17,     /* struct manifest_processor, exactly one */
	MANIFEST_FILE_BYTES = 18,    /* struct manifest_file_bytes + path + bytes */
	MANIFEST_ADVICE = 19,        /* struct manifest_advice: what was asked for some memory */
	MANIFEST_OWNER = 20,         /* struct manifest_owner, one per descriptor that has one */
};

struct manifest_record {
	uint32_t kind;   /* enum manifest_kind */
	uint32_t length; /* payload bytes, without padding */
};

/* Values of the process as a whole. */
struct manifest_process {
	uint64_t epoch;        /* the checkpoint's number */
	int64_t realtime_ns;   /* CLOCK_REALTIME when the threads stood still, ns */
	int64_t monotonic_ns;  /* CLOCK_MONOTONIC at the same instant, ns */
	int64_t boottime_ns;   /* CLOCK_BOOTTIME at the same instant, ns */
	uint64_t root_address; /* struct rt_root in the image */
	uint64_t resume_entry; /* rt_resume() in the image */
	int32_t pid;
	int32_t parent;
	uint32_t uid[3]; /* real, effective, saved */
	uint32_t gid[3];
	uint32_t umask;
	uint32_t thread_count;
	uint32_t dumpable; /* prctl(PR_GET_DUMPABLE) */
	uint32_t personality;
	/* mm boundaries, for prctl(PR_SET_MM_MAP) */
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
	uint64_t arg_start, arg_end, env_start, env_end;
	uint64_t vdso_start, vdso_end; /* [vdso]; 0 when there was none */
	uint64_t vvar_start, vvar_end; /* [vvar] and [vvar_vclock], adjacent */
	uint64_t no_new_privs;
	/* capabilities of the main thread; bit n is number n */
	uint64_t effective, permitted, inheritable, bounding, ambient;
	uint32_t secure_bits;                    /* prctl(PR_GET_SECUREBITS) */
	int32_t parent_death_signal;             /* prctl(PR_GET_PDEATHSIG) of the main thread */
	uint32_t child_subreaper, no_huge_pages; /* prctl(PR_GET_CHILD_SUBREAPER), PR_GET_THP_DISABLE */
	int32_t oom_score_adjustment;
	uint32_t memory_barriers;       /* commands by which the process has registered, see membarrier(2) */
	int32_t process_group, session; /* numbers; equal to `pid` for their leaders */
	uint64_t pending; /* signals pending for the process, those apart that are MANIFEST_QUEUED_SIGNAL; bit
			   * n - 1 is signal n */
};

enum region_kind {
	REGION_ANONYMOUS = 1,        /* private, zero where the store has no page */
	REGION_FILE_PRIVATE = 2,     /* private, the file's contents where the store has no page */
	REGION_FILE_SHARED = 3,      /* shared with a file: mapped again, contents are the file's */
	REGION_ANONYMOUS_SHARED = 4, /* shared anonymous; pages in the store */
	REGION_SPECIAL = 5,          /* [vdso], [vvar]: moved, not mapped */
	REGION_FILE_MEMORY = 6,      /* shared with a file in memory (tmpfs); pages in the store are its own */
};

enum region_flag {
	REGION_GROWSDOWN = 1,
	REGION_FILE_WRITABLE = 2, /* a shared file mapping that may be made writable */
	REGION_OBJECT = 4,        /* FILE_PRIVATE, and the file is shared memory without a name: a descriptor's
				   * or that of ANONYMOUS_SHARED regions of the same device and inode */
};

#define REGION_BUILD_ID_SIZE 20

/* One mapping, [start, end), page aligned; records are sorted and do not overlap. */
struct manifest_region {
	uint64_t start, end;
	uint64_t offset;     /* of `start` in the file, bytes */
	uint64_t device;     /* st_dev; files and shared memory. With the inode it tells which is mapped twice */
	uint64_t inode;      /* st_ino */
	uint64_t size;       /* st_size at the checkpoint, files only */
	int64_t mtime_ns;    /* st_mtim, files only */
	uint32_t kind;       /* enum region_kind */
	uint32_t prot;       /* PROT_* */
	uint32_t flags;      /* bits of enum region_flag */
	uint32_t page_shift; /* base-2 logarithm of the size of its huge pages (MAP_HUGETLB); 0: ordinary ones */
	uint8_t build_id[REGION_BUILD_ID_SIZE]; /* GNU build-id of an ELF file; zeros: none, or not known */
	uint32_t path_length;                   /* bytes of the path that follows, with its terminator; 0: none */
};

struct manifest_thread {
	int32_t tid;
	uint32_t alternate_stack_flags; /* stack_t.ss_flags, SS_DISABLE when none */
	uint64_t context;               /* stack pointer published by rt_arch_park() */
	uint64_t tls_base;              /* FS base */
	uint64_t gs_base;
	uint64_t clear_child_tid; /* set_tid_address() argument */
	uint64_t robust_list, robust_list_length;
	uint64_t rseq_address; /* 0: not registered */
	uint32_t rseq_length, rseq_signature;
	uint64_t alternate_stack_start, alternate_stack_size;
	char name[16];
	uint8_t affinity[128]; /* cpu_set_t */
	int32_t nice;
	uint32_t policy; /* SCHED_* */
	int32_t priority;
	uint32_t exited;      /* the main thread has called pthread_exit() */
	uint64_t timer_slack; /* ns; prctl(PR_GET_TIMERSLACK) */
	int32_t io_priority;  /* ioprio_get(); negative: not known */
	int32_t zero;
	uint64_t pending; /* likewise, for this thread alone */
};

struct manifest_signal {
	uint32_t number;
	uint32_t pad;
	uint64_t handler, flags, restorer, mask; /* the kernel's struct sigaction */
};

enum path_role {
	PATH_CWD = 1,
	PATH_EXECUTABLE = 2,
	PATH_CWD_DELETED = 3, /* in place of PATH_CWD: what its name was */
};

struct manifest_path {
	uint32_t role;   /* enum path_role */
	uint32_t length; /* bytes that follow, with the terminator */
	/* identity of the file at the checkpoint; zero for directories */
	uint64_t size;
	int64_t mtime_ns;
	uint64_t inode;
};

struct manifest_timer {
	uint32_t which; /* ITIMER_* */
	uint32_t pad;
	int64_t value_us, interval_us; /* time left and period, microseconds */
};

struct manifest_limit {
	uint32_t resource; /* RLIMIT_* */
	uint32_t pad;
	uint64_t soft, hard;
};

struct manifest_child {
	int32_t pid;
	uint32_t ended; /* 1: it had ended, `status` is what waiting for it gives; 0: it was running */
	int32_t status; /* as wait(2) encodes it */
	uint32_t pad;
};

/* A timer of timer_create(2), with the number the kernel gave it. */
struct manifest_posix_timer {
	int32_t id;
	int32_t signal;
	uint64_t value; /* sigev_value */
	int32_t notify; /* SIGEV_*, with SIGEV_THREAD_ID */
	int32_t target; /* thread with SIGEV_THREAD_ID */
	int32_t clock;
	int32_t pad;
	int64_t value_ns, interval_ns; /* time left (0: disarmed) and period */
};

/* A signal that is pending, with what it carries. */
struct manifest_queued_signal {
	int32_t tid; /* the thread it is pending for; 0: the process */
	int32_t number;
	uint8_t info[128]; /* the kernel's siginfo_t */
};

/* A System V segment that is attached; its regions have the same device and inode. */
struct manifest_segment {
	uint64_t device, inode; /* as in manifest_region */
	uint64_t size;          /* shm_segsz, bytes */
	int32_t id;             /* of shmget() */
	int32_t key;            /* key_t; 0: IPC_PRIVATE */
	uint32_t mode;          /* shm_perm.mode, with SHM_DEST once it is marked to be removed */
	int32_t creator;        /* shm_cpid */
};

/* Where the records of the undo log begin that lead back to this checkpoint; see store/undo_log.h. */
struct manifest_undo {
	uint64_t id;         /* of the log; 0: there is none */
	uint64_t generation; /* of the file */
	uint64_t offset;     /* in that file, bytes */
};

enum lock_kind {
	LOCK_FLOCK = 1, /* flock() */
	LOCK_POSIX = 2, /* fcntl(F_SETLK): of the process */
	LOCK_OFD = 3,   /* fcntl(F_OFD_SETLK): of the open file description */
};

struct manifest_lock {
	int32_t number;     /* of a descriptor through which it can be taken */
	uint32_t kind;      /* enum lock_kind */
	uint32_t exclusive; /* 1: for writing, 0: for reading */
	uint32_t zero;
	int64_t start, end; /* first and last byte; INT64_MAX: to the end of the file */
};

/* Words of CPUID: leaf (and subleaf) and register. */
enum processor_word {
	PROCESSOR_1_ECX,
	PROCESSOR_1_EDX,
	PROCESSOR_7_EBX,
	PROCESSOR_7_ECX,
	PROCESSOR_7_EDX,
	PROCESSOR_7_1_EAX,
	PROCESSOR_D_1_EAX,
	PROCESSOR_80000001_ECX,
	PROCESSOR_WORDS = 12, /* some to spare */
};

#define PROCESSOR_STATES 20 /* parts of the extended state that are looked at */

/* The processor: what the program may have found it can do, and how signal frames lie on its stacks. */
struct manifest_processor {
	uint32_t features[PROCESSOR_WORDS]; /* by enum processor_word */
	uint64_t xcr0;                      /* parts of the extended state in use; bit n is state[n] */
	uint32_t state_size;                /* of the whole, bytes */
	uint32_t pad;
	struct {
		uint32_t offset, size; /* bytes */
	} state[PROCESSOR_STATES];
	char name[48];
};

/* Contents of a file on disk that is mapped shared and writable. */
struct manifest_file_bytes {
	uint64_t inode;       /* st_ino */
	uint64_t offset;      /* in the file, bytes */
	uint64_t length;      /* of the bytes behind the path */
	uint32_t path_length; /* with its terminator */
	uint32_t zero;
};

enum advice_flag {
	ADVICE_LOCKED = 1,
	ADVICE_LOCKED_ON_FAULT = 2, /* with LOCKED: MLOCK_ONFAULT */
	ADVICE_DONTFORK = 4,
	ADVICE_WIPEONFORK = 8,
	ADVICE_DONTDUMP = 16,
	ADVICE_MERGEABLE = 32,
	ADVICE_HUGEPAGE = 64,
	ADVICE_NOHUGEPAGE = 128,
	ADVICE_SEQUENTIAL = 256,
	ADVICE_RANDOM = 512,
	ADVICE_GUARD = 1024,     /* MADV_GUARD_INSTALL */
	ADVICE_GROWSDOWN = 2048, /* MAP_GROWSDOWN; never in a record, see REGION_GROWSDOWN */
};

/* Page aligned; within one region. */
struct manifest_advice {
	uint64_t start, end;
	uint32_t flags; /* bits of enum advice_flag */
	uint32_t zero;
};

struct manifest_owner {
	int32_t number; /* of the descriptor */
	int32_t type;   /* F_OWNER_* */
	int32_t pid;    /* 0: none */
	int32_t signal; /* F_SETSIG; 0: SIGIO */
	uint32_t async; /* 1: O_ASYNC */
	uint32_t zero;
};

/* ---- writing: into memory of rt_memory_map(), grown as needed; see manifest.c ---- */

struct manifest_writer {
	uint8_t *bytes;
	size_t length;   /* bytes in use; what is handed to the store */
	size_t capacity; /* bytes mapped */
	size_t record;   /* offset of the open record */
	bool failed;     /* memory ran out; the manifest is incomplete */
};

/* Starts a new manifest in `writer`, keeping its memory. A zeroed writer is valid. */
void rt_manifest_reset(struct manifest_writer *writer);

/* Opens a record, appends to it any number of times, closes it. */
void rt_manifest_begin(struct manifest_writer *writer, enum manifest_kind kind);
void rt_manifest_put(struct manifest_writer *writer, const void *bytes, size_t length);
void rt_manifest_end(struct manifest_writer *writer);

/* begin + put + end. */
void rt_manifest_add(struct manifest_writer *writer, enum manifest_kind kind, const void *payload, size_t length);

/* ---- reading ---- */

struct manifest_reader {
	const uint8_t *bytes;
	size_t length;
	size_t next; /* offset of the next record */
};

/* Moves to the next record. Returns 1 with *kind, *payload and *length set (payload is 8-byte
 * aligned), 0 at the end, -EBADMSG when the manifest is malformed. */
int rt_manifest_next(struct manifest_reader *reader, uint32_t *kind, const void **payload, uint32_t *length);

/* The string of `length` bytes (terminator included) at `offset` of a payload of
 * `payload_length` bytes, or NULL when it does not lie inside or is not terminated. */
const char *rt_manifest_string(const void *payload, uint32_t payload_length, size_t offset, size_t length);

#endif
