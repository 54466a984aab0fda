/*
 * The checkpoint engine of one protected process; in the runtime area, outside the image.
 */
#ifndef RT_ENGINE_H
#define RT_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "descriptor/descriptor.h"
#include "manifest.h"
#include "memory/advice.h"
#include "memory/region.h"
#include "root.h"
#include "store/store.h"
#include "track/track.h"

#define PARKED_SAMPLES 1024

struct engine_options {
	int64_t interval_ns;
	enum store_durability durability;
	int signal;
	enum rt_track_kind track; /* chosen: never RT_TRACK_ANY while protected */
	bool has_go;              /* the program has code in Go: life/go.h */
	bool verify;              /* RESPCT_VERIFY: prove every checkpoint before its commit */
	bool fresh;               /* overwrite a crashed run */
	bool quiet;               /* no line at start */
};

/* A thread of the program, as the quiesce sees it. */
struct stopped_thread {
	int tid;
	uint32_t signalled_round; /* the straggler signal was sent in this round */
	struct rt_thread *record; /* NULL until it has parked once */
	bool exited;              /* the main thread, after pthread_exit() */
	uint64_t pending;         /* signals pending for it alone */
};

/* What a parked thread is told to do, see capture/signals.c. */
enum thread_command {
	COMMAND_TAKE_SIGNALS = 1,
	COMMAND_PUT_BACK_SIGNALS = 2,
};

/* Time left of the timers of timer_create(2), in the kernel's order, before the look at the signals. */
struct timer_samples {
	int64_t *values_ns;
	size_t count, capacity;
	size_t next;       /* of the second reading */
	int64_t second_ns; /* CLOCK_MONOTONIC when that began */
	bool expired;      /* one with a signal that others have, too, since the last look */
};

/* Signals taken off the queues in this stop. */
struct pending_signals {
	struct manifest_queued_signal *entries;
	size_t count, capacity;
	uint64_t changed; /* of these not all could be put back as they were */
};

/* Pages that the pre-copy protected but could not read; read again in the stop. */
struct missed_pages {
	uint64_t *pages;
	size_t count, capacity;
};

/* Figures of the run, for `respct stat`; written by the checkpoint thread. */
struct engine_statistics {
	uint64_t checkpoints; /* committed in this life of the process */
	uint64_t abandoned;   /* given up: a thread could not be stopped in time */
	uint64_t parked_ns_last, parked_ns_total, parked_ns_max;
	uint64_t quiesce_ns_total, memory_ns_total, process_ns_total; /* the parts of the parked time */
	uint64_t pages_written, pages_precopied;
	uint64_t stragglers; /* threads captured by signal */
	uint32_t suspended;  /* the errno value for which protection has stopped; 0: it has not */
	uint32_t pad;
	uint64_t stops; /* stops so far; parked_ns[] has the last ones, nanoseconds */
	uint32_t parked_ns[PARKED_SAMPLES];
	uint32_t track; /* enum rt_track_kind */
};

/* What was asked for memory, by address. */
struct advice_table {
	struct manifest_advice *entries;
	size_t count, capacity;
};

struct engine {
	/* --- shared with program threads: written with atomic operations; at the same address in a
	 * restored process, where a thread captured while it waited here finds them anew --- */
	uint32_t gate;    /* round of the stop going on, 0: none. Threads sleep on it. */
	uint32_t events;  /* counts parkings; the checkpoint thread sleeps on it */
	uint32_t command; /* enum thread_command, for the thread that `commanded` names */
	int command_result;
	uint64_t commanded; /* &rt_thread.context of a parked thread that is to do something; 0: none */
	uint32_t request;   /* counts rt_checkpoint_now() calls */
	uint32_t served;    /* the last request whose checkpoint has ended; callers sleep on it, and every
			   * checkpoint wakes them, so that in a restored process they look again */
	int request_result;
	uint32_t forked;  /* since this life began: children may write shared memory while we are parked */
	uint32_t stop;    /* the process is ending: no more checkpoints */
	uint32_t stopped; /* the checkpoint thread has obeyed */
	uint32_t ready;   /* the checkpoint thread has started, or failed to: start_result */
	int start_result;

	/* --- checkpoint thread only --- */
	uint32_t round;
	int64_t due_ns; /* when the next checkpoint is due, CLOCK_MONOTONIC; 0: none was planned yet */
	int tid;        /* of the checkpoint thread */
	char *stack;    /* of it; used again where it is started again */
	void *tls;
	int exit_code; /* the checkpoint thread ends with it, and with it a process of which nothing else is left */
	bool had_more_threads; /* as of the last stop: than the main thread */
	struct store *store;
	struct descriptor_table *descriptors;
	struct rt_undo *undo; /* NULL: changes of files are not undone; program threads enter by undo.h */
	struct manifest_writer manifest;
	struct region_table regions;          /* as of the last walk */
	struct region_table captured_regions; /* as of the last capture: what the store covers */
	struct rt_tracker *tracker;
	struct engine_options options;
	struct engine_statistics statistics;
	struct stopped_thread *threads; /* the program's threads in the last listing */
	struct stopped_thread *listing; /* scratch of the listing in the making */
	int thread_count, thread_capacity;
	uint8_t *straggles; /* by record index: captured by signal the last time */
	struct missed_pages missed;
	uint64_t process_pending;      /* signals pending for the process in this stop */
	uint64_t timer_signals;        /* those that exactly one timer of timer_create(2) sends */
	uint64_t shared_timer_signals; /* those that several send */
	uint64_t takeable_signals;     /* those that are captured with all they carry */
	uint64_t taken_signals;        /* of these, those that the command to a thread is about */
	struct pending_signals pending;
	int64_t interval_timers_us[3]; /* time left, by ITIMER_, before the look at the signals */
	struct timer_samples timer_samples;
	uint64_t vdso_start, vdso_end; /* of [vdso], read by stragglers; 0: not known, or none */
	struct advice_table advice;    /* as of the last look */
	struct advice_table guards;    /* guard regions, as of this stop */
	bool suspended;                /* the store fails: running unprotected since the last commit */
	int64_t retry_ns;              /* how long until the next attempt */
	bool removed;                  /* the store's files have no name any more: there is nothing to try */
	bool bus_blocked;              /* the checkpoint thread blocks SIGBUS, too */
	bool recapture;                /* what changed since the last commit is not known: compare all pages */
	bool postponed;                /* a thread is to leave the vDSO before it is captured */
	bool advice_read;              /* has been looked at */
	bool vdso_stored;              /* the store has had its pages from this process */
	bool told_shared_file;         /* said once that a file's contents are not rolled back */
	bool too_many_signals;         /* are pending for the process's limit */
	bool signal_refused;           /* a thread could not be sent the signal that stops it */
	bool told_signals;             /* said once that signals are restored by their numbers only */
	bool told_mapping;             /* said once that a mapping cannot be restored */
	bool epoch_open;               /* an epoch of the store has begun and is not committed */
	bool main_is_ending;           /* since the restore, in the restorer: it had ended before */
	bool restorer_dropped;         /* the restorer's memory is unmapped, or never was there */
	size_t unsaved_file; /* index in the regions captured last, plus 1, of a file that rt_capture_shared_files()
			      * found too large; 0: none */
	int stuck;           /* stops given up in a row */
	int unparked;        /* a thread that was not parked at the end of the last one */
	struct process_facts *facts;
	struct process_credentials *credentials;
	char *look_stack; /* of a thread that looks at another one, in a stop that takes long; NULL: none was needed */
	uint32_t discards_seen; /* by the last capture */
	bool discarded;         /* some memory has been since then */
	char *compare_buffer;   /* pages copied before the stop, to be compared; NULL: none were yet */
	char *copy_buffer;      /* one page, for memory that must be read through /proc/self/mem */

	/* --- crash.c: written by the thread that crashes --- */
	uint32_t crash_state; /* futex */
	struct crash_buffer *crash;

	/* --- set at start, constant after --- */
	int task_dir, fd_dir, fdinfo_dir;
	int status_fd; /* /proc/self/status: the main thread's */
	int timers_fd; /* /proc/self/timers; negative: this kernel does not have it */
	int maps_fd, pagemap_fd, memory_fd;
	int control_fd; /* of the tracker; negative: it needs none */
	int smaps_fd;   /* negative: this kernel does not have it */
	int lock_fd, statistics_fd, crash_fd;
	int oom_fd;           /* /proc/self/oom_score_adj; negative: there is none */
	uint64_t owner_start; /* start time of this process, as in the store */
};

/* ---- engine.c ---- */

/* On the checkpoint thread, before its first checkpoint. 0 or -errno. */
int rt_engine_open_descriptor_table(struct engine *engine);

/* ---- checkpoint.c ---- */

/* A thread pointer for a thread of the runtime. NULL: no memory. */
void *rt_make_tls(void);

/* Starts a thread of the runtime, which blocks all signals and must not return. Its tid or -errno. */
int rt_spawn_thread(void *stack_top, void *tls, void (*entry)(void *), void *argument);

/* Starts the checkpoint thread. 0 or -errno. */
int rt_checkpoint_start(struct engine *engine);

/* Takes a checkpoint now and waits for its commit. 0 or -errno. Any program thread. */
int rt_checkpoint_now(void);

/* No more checkpoints; returns when the checkpoint thread has obeyed. */
void rt_checkpoint_stop(struct engine *engine);

/* ---- quiesce.c ---- */

/* Brings every thread of the program to a stop. -ETIMEDOUT: one could not be stopped; all run on.
 * -ESRCH: there is none left. */
int rt_quiesce(struct engine *engine);

/* Whether all threads of the program have ended, so that only the checkpoint thread is left. */
bool rt_program_has_ended(const struct engine *engine);

/* Whether a listed thread has let go of its memory, so that it will execute nothing more. It may be asked while
 * the program runs: no descriptor is opened for it, since the program could get the next number. */
bool rt_has_left_memory(const struct engine *engine, int tid);

/* Lets them go. */
void rt_resume_threads(struct engine *engine);

/* ---- capture/advice.c ---- */

/* Before the stop, after the pre-copy: finds out about locks and advice, when those may have changed. */
int rt_capture_prepare_advice(struct engine *engine);

/* In the stop: the regions that grow down; the records. */
void rt_capture_mark_growing(struct engine *engine);
void rt_capture_write_advice(const struct engine *engine, struct manifest_writer *writer);

/* 0 or -ENOMEM. */
int rt_advice_add(struct advice_table *table, uint64_t start, uint64_t end, uint32_t advice);

/* ---- capture/memory.c ---- */

/* Before the stop: copies what is dirty now and protects it again. */
int rt_capture_precopy(struct engine *engine);

/* In the stop: brings the open epoch of the store to what memory is. */
int rt_capture_residue(struct engine *engine);

/* Copies one page of the program, whatever its protection. 0 or -errno. */
int rt_read_page(struct engine *engine, const struct region *region, uint64_t page, void *contents);

/* ---- capture/process.c ---- */

/* Reads what never changes: mm boundaries, auxv. At start and resume. */
int rt_capture_facts(struct engine *engine);

/* The auxiliary vector, as read then. */
const void *rt_capture_auxv(const struct engine *engine, size_t *length);

/* In the stop: writes the manifest. */
int rt_capture_process(struct engine *engine);

/* ---- capture/signals.c ---- */

/* In the stop, before memory is captured: looks at the signals that are pending. 0 or -errno. */
int rt_capture_signals(struct engine *engine);

/* On a program thread that has been told so while parked: see enum thread_command. */
void rt_thread_obey(struct engine *engine);

/* In the stop: whether the expiry of this timer is among the signals taken. */
bool rt_expiry_was_taken(const struct engine *engine, int timer);

/* In the stop: MANIFEST_QUEUED_SIGNAL records. */
void rt_write_signals_pending(struct engine *engine, struct manifest_writer *writer);

/* What the main thread ended with, as wait(2) encodes it. */
int rt_main_thread_status(void);

/* ---- capture/timers.c ---- */

/* In the stop, before the look at the signals: what time is left, and engine->timer_signals. 0 or -errno. */
int rt_sample_timers(struct engine *engine);

/* In the stop: whether, since the last look, a timer has expired that shares its signal and whose signal was not taken. */
bool rt_shared_timer_expired(struct engine *engine);

/* In the stop: MANIFEST_TIMER and MANIFEST_POSIX_TIMER records. 0 or -errno. */
int rt_capture_timers(struct engine *engine, struct manifest_writer *writer);

/* ---- capture/credentials.c ---- */

/* Before the stop: room for the main thread's credentials. 0 or -errno. */
int rt_credentials_prepare(struct engine *engine);

/* In the stop: reads the main thread's credentials, and takes them over. 0 or -errno. */
int rt_credentials_follow(struct engine *engine);

/* After the resume: says what will be missing, once. */
void rt_credentials_report(struct engine *engine);

/* In the stop: what is known of them. */
void rt_credentials_write(const struct engine *engine, struct manifest_process *process);
void rt_credentials_write_groups(const struct engine *engine, struct manifest_writer *writer);

/* ---- capture/shared_files.c ---- */

/* In the stop: MANIFEST_FILE_BYTES records. */
void rt_capture_shared_files(struct engine *engine, struct manifest_writer *writer);

/* ---- capture/children.c ---- */

/* In the stop: a MANIFEST_CHILD record for each child not yet waited for. 0 or -errno. */
int rt_capture_children(struct engine *engine, struct manifest_writer *writer);

/* ---- verify.c ---- */

/* In the stop: compares every page with the store; aborts the process on a difference. */
void rt_verify(struct engine *engine);

#endif
