/*
 * The checkpoint thread: one checkpoint after another, in the order of DESIGN section 5.
 *
 * The thread is made by raw clone, with every signal blocked and a TLS block of its own that
 * libc does not know, so that nothing it does can touch the TLS of a program thread.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>

#include "arch/x86_64/context.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "engine.h"
#include "files/undo.h"
#include "layout.h"
#include "life/bus.h"
#include "life/start.h"
#include "respct.h"
#include "threads/thread.h"
#include "threads/wait.h"

#define STACK_SIZE (512 * 1024)
#define TLS_SIZE (64 * 1024)       /* room below the thread pointer, for stray accesses */
#define RETRY_MOST_NS 1000000000L  /* a failing store is tried again at least so often */
#define RESERVE_PAGES 256          /* room made in the log before the stop */
#define LOOK_AROUND_NS 1000000000L /* how often to see whether the program is still there */
#define STUCK_CHECKPOINTS 5        /* stops given up in a row before the user is told */
#define STUCK_FACTOR 10            /* after a stop given up, the program runs so many times as long */

static void wake(uint32_t *word)
{
	rt_syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void sleep_on(uint32_t *word, uint32_t value, int64_t timeout_ns)
{
	struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
	rt_syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns < 0 ? NULL : &timeout, NULL, 0);
}

static int64_t realtime_ns(void)
{
	struct timespec now;
	rt_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* ---- one checkpoint ---- */

static int capture_stopped(struct engine *engine)
{
	int64_t started = rt_monotonic_ns();
	/* Since the last look, too. */
	int result = rt_root.root_changed ? -EXDEV : rt_fail(RT_FAIL_CHECKPOINT_CAPTURE);
	if (result == 0)
		result = rt_credentials_follow(engine);
	if (result == 0)
		result = rt_capture_signals(engine);
	if (result == 0)
		result = rt_capture_residue(engine);
	int64_t memory_done = rt_monotonic_ns();
	engine->statistics.memory_ns_total += (uint64_t)(memory_done - started);
	if (result == 0)
		result = rt_fail(RT_FAIL_CHECKPOINT_DESCRIBE);
	if (result == 0)
		result = rt_capture_process(engine);
	engine->statistics.process_ns_total += (uint64_t)(rt_monotonic_ns() - memory_done);
	if (result == 0 && engine->options.verify)
		rt_verify(engine);
	return result < 0 ? result : rt_fail(RT_FAIL_CHECKPOINT_CAPTURED);
}

static void count_parked(struct engine *engine, int64_t parked_ns)
{
	struct engine_statistics *statistics = &engine->statistics;
	statistics->parked_ns_last = (uint64_t)parked_ns;
	statistics->parked_ns_total += (uint64_t)parked_ns;
	if ((uint64_t)parked_ns > statistics->parked_ns_max)
		statistics->parked_ns_max = (uint64_t)parked_ns;
	statistics->parked_ns[statistics->stops++ % PARKED_SAMPLES] = (uint32_t)parked_ns;
}

/* The regions just captured become those the store covers. */
static void swap_regions(struct engine *engine)
{
	struct region_table captured = engine->captured_regions;
	engine->captured_regions = engine->regions;
	engine->regions = captured;
}

/* Memory of a device or of the kernel cannot be mapped again; said when it appears. */
static void report_mappings(struct engine *engine)
{
	for (size_t i = 0; i < engine->captured_regions.count && !engine->told_mapping; i++) {
		const struct region *region = &engine->captured_regions.entries[i];
		const char *name = rt_region_name(&engine->captured_regions, region);
		if (region->kind != REGION_FILE_SHARED || rt_region_has_file(&engine->captured_regions, region))
			continue;
		rt_say("%s is mapped: the program cannot be restored while it is", name);
		engine->told_mapping = true;
	}
}

/* The file may be a database whose other half is in memory; said when the first appears. */
static void report_shared_files(struct engine *engine)
{
	if (engine->unsaved_file == 0 || engine->told_shared_file)
		return;
	const struct region *region = &engine->captured_regions.entries[engine->unsaved_file - 1];
	rt_say("%s is mapped shared and writable and larger than 1 MiB: what is written to the mapping is not undone "
	       "by "
	       "a restore",
	       rt_region_name(&engine->captured_regions, region));
	engine->told_shared_file = true;
}

static int take_checkpoint(struct engine *engine)
{
	int result;
	if (!engine->epoch_open) {
		if ((result = rt_fail(RT_FAIL_CHECKPOINT_BEGIN)) < 0 || (result = rt_store_begin(engine->store)) < 0)
			return result;
		engine->epoch_open = true;
	}
	if ((result = rt_fail(RT_FAIL_CHECKPOINT_COPY)) < 0 ||
	    (!engine->recapture && (result = rt_capture_precopy(engine)) < 0))
		return result;
	if ((result = rt_fail(RT_FAIL_CHECKPOINT_PREPARE)) < 0 || (result = rt_credentials_prepare(engine)) < 0 ||
	    (result = rt_capture_prepare_advice(engine)) < 0 ||
	    (result = rt_descriptors_prepare(engine->descriptors)) < 0 ||
	    (result = rt_store_reserve(engine->store, RESERVE_PAGES)) < 0 ||
	    (result = rt_fail(RT_FAIL_CHECKPOINT_STOP)) < 0)
		return result;

	int64_t parked_at = rt_monotonic_ns();
	if ((result = rt_quiesce(engine)) < 0)
		return result;
	engine->statistics.quiesce_ns_total += (uint64_t)(rt_monotonic_ns() - parked_at);
	int64_t state_time = realtime_ns();
	result = capture_stopped(engine);
	rt_resume_threads(engine);
	count_parked(engine, rt_monotonic_ns() - parked_at);

	if (result == 0)
		result = rt_fail(RT_FAIL_CHECKPOINT_RESUMED);
	if (result == 0)
		result = rt_undo_before_commit(engine);
	if (result == 0 && rt_store_survives_power(engine->store))
		result = rt_descriptors_sync(engine->descriptors);
	if (result == 0)
		result = rt_store_commit(engine->store, engine->manifest.bytes, engine->manifest.length, state_time);
	if (result < 0)
		return result;
	engine->epoch_open = false;
	rt_undo_committed(engine);
	swap_regions(engine);
	engine->statistics.checkpoints++;
	rt_descriptors_report(engine->descriptors);
	rt_credentials_report(engine);
	report_mappings(engine);
	report_shared_files(engine);
	rt_fail(RT_FAIL_CHECKPOINT_DONE);
	return 0;
}

/* ---- what can go wrong ---- */

/* The open epoch is forgotten; which pages have changed since the last commit is then unknown. */
static void give_up_epoch(struct engine *engine)
{
	if (!engine->epoch_open)
		return;
	rt_store_abort(engine->store);
	engine->epoch_open = false;
	engine->recapture = true;
	engine->missed.count = 0;
	engine->vdso_stored = false;
}

static void write_statistics(const struct engine *engine)
{
	if (engine->statistics_fd >= 0)
		rt_sys_pwrite(engine->statistics_fd, &engine->statistics, sizeof(engine->statistics), 0);
}

/* What there is to come back to. */
static void describe_last_checkpoint(struct engine *engine, char *text, size_t size)
{
	struct store_status status;
	rt_store_status(engine->store, &status);
	if (status.epoch == 0)
		rt_format(text, size, "there is no checkpoint yet");
	else
		rt_format(text, size, "the last checkpoint, number %lu, is %ld ms old", status.epoch,
			  (realtime_ns() - status.commit_time_ns) / 1000000);
}

static void say_unprotected(struct engine *engine, int error)
{
	char last[128];
	const char *why = rt_error_text(error);
	describe_last_checkpoint(engine, last, sizeof(last));
	if (error == -ESTALE)
		rt_format(last, sizeof(last), "nothing can be restored");
	else if (error == -EBADMSG)
		rt_format(last, sizeof(last), "the last checkpoint is lost");
	if (rt_root.root_changed)
		why = "the program has changed its root directory";
	else if (error == -ENOMEM && rt_memory_is_limited())
		why = "the program's limit of memory (ulimit -v, ulimit -d) leaves no room for protection";
	rt_say("%s: %s: running unprotected; %s", rt_root.directory, why, last);
}

/* Nobody can find the store any more. It has been removed by somebody who knew why: it is not made again. */
static void leave_store(struct engine *engine)
{
	engine->removed = true;
	rt_undo_give_up(engine);
	rt_store_give_up(engine->store);
}

/* Tried again soon, then less and less often. */
static void suspend_protection(struct engine *engine, int error)
{
	give_up_epoch(engine);
	engine->retry_ns = engine->suspended ? 2 * engine->retry_ns : engine->options.interval_ns;
	if (engine->retry_ns > RETRY_MOST_NS)
		engine->retry_ns = RETRY_MOST_NS;
	if (engine->suspended)
		return;
	engine->suspended = true;
	if (error == -ESTALE)
		leave_store(engine);
	engine->statistics.suspended = (uint32_t)-error;
	write_statistics(engine);
	say_unprotected(engine, error);
}

static void note_success(struct engine *engine)
{
	if (engine->suspended) {
		engine->suspended = false;
		engine->statistics.suspended = 0;
		rt_say("%s: protected again", rt_root.directory);
	}
	write_statistics(engine);
}

/* A thread that cannot be stopped (in a vfork, or stuck in a device): tried again later. */
static void note_stuck(struct engine *engine)
{
	engine->statistics.abandoned++;
	if (++engine->stuck == STUCK_CHECKPOINTS)
		rt_say("thread %d cannot be stopped (%s): no new checkpoint until it can", engine->unparked,
		       engine->signal_refused ? "as many signals are pending as RLIMIT_SIGPENDING allows"
					      : "it blocks all signals, or waits for a device or a vfork child");
}

/* Once the last thread of a restored process has left the restorer, or ended there, it goes. */
static void drop_restorer(struct engine *engine)
{
	if (engine->restorer_dropped || __atomic_load_n(&rt_root.leaving_restorer, __ATOMIC_ACQUIRE) > 0)
		return;
	if (engine->main_is_ending && !rt_has_left_memory(engine, rt_root.pid))
		return;
	rt_sys_munmap((void *)RT_RESTORER_BASE, RT_RESTORER_END - RT_RESTORER_BASE);
	engine->restorer_dropped = true;
}

/*
 * The last thread of the program has ended by the system call for threads. The process ends with what
 * its last thread ends with, which is now this one: it takes over the main thread's code when that was
 * the only one; other threads, which are libc's, end with 0.
 */
static void end_with_program(struct engine *engine)
{
	if (!engine->had_more_threads)
		engine->exit_code = rt_main_thread_status() >> 8;
	rt_end_store(engine, engine->exit_code << 8);
	engine->stop = 1;
}

static bool is_full(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

/* A store that was damaged under our hands is made anew, and so is all that is in it; first it is said. */
static int look_at_store(struct engine *engine)
{
	int result = rt_store_look(engine->store);
	if (result == 0)
		result = rt_undo_look(engine);
	if (result != -EBADMSG || !engine->suspended)
		return result;
	engine->recapture = true;
	engine->vdso_stored = false;
	result = rt_store_start_over(engine->store);
	return result < 0 ? result : rt_undo_start_over(engine);
}

static int try_checkpoint(struct engine *engine)
{
	int result;
	if (rt_root.root_changed)
		return -EXDEV;
	if (engine->removed)
		return -ESTALE;
	if ((result = look_at_store(engine)) < 0)
		return result;
	/* What failed may be the move home: until that succeeds, the log must not get longer. */
	if (engine->suspended && (result = rt_store_settle(engine->store, true)) < 0)
		return result;
	result = take_checkpoint(engine);
	if (!is_full(result) || engine->suspended)
		return result;
	/* A full log may find room at home. */
	give_up_epoch(engine);
	return rt_store_settle(engine->store, true) < 0 ? result : take_checkpoint(engine);
}

static int run_checkpoint(struct engine *engine)
{
	drop_restorer(engine);
	rt_bus_unblock(engine);
	int result = try_checkpoint(engine);
	if (result == -ESRCH) {
		end_with_program(engine);
		return result;
	}
	if (result == -ETIMEDOUT) {
		note_stuck(engine);
		return result;
	}
	engine->stuck = 0;
	int settled = result < 0 ? result : rt_store_settle(engine->store, false);
	if (settled < 0)
		suspend_protection(engine, settled);
	else
		note_success(engine);
	return result;
}

/* ---- the thread ---- */

static int64_t next_time(const struct engine *engine, int64_t started)
{
	int64_t interval = engine->suspended ? engine->retry_ns : engine->options.interval_ns;
	if (engine->stuck > 0)
		interval = STUCK_FACTOR * (rt_monotonic_ns() - started);
	int64_t next = started + interval;
	/* However long a checkpoint takes, the program gets some of the time undisturbed: half of it, where pages
	 * are compared in the stop. */
	int64_t now = rt_monotonic_ns(), rest = interval / 8;
	if (!rt_track_is_exact(engine->tracker) && rest < now - started)
		rest = now - started;
	int64_t earliest = now + rest;
	return next > earliest ? next : earliest;
}

/* Sleeps until the next checkpoint is due, is asked for, or the process ends. */
static void wait_until_due(struct engine *engine, int64_t due)
{
	for (;;) {
		uint32_t request = __atomic_load_n(&engine->request, __ATOMIC_ACQUIRE);
		if (__atomic_load_n(&engine->stop, __ATOMIC_ACQUIRE) || request != engine->served)
			return;
		int64_t left = due - rt_monotonic_ns();
		if (left <= 0 || rt_program_has_ended(engine))
			return;
		sleep_on(&engine->request, request, left < LOOK_AROUND_NS ? left : LOOK_AROUND_NS);
	}
}

static void serve_requests(struct engine *engine, uint32_t request, int result)
{
	engine->request_result = result;
	__atomic_store_n(&engine->served, request, __ATOMIC_RELEASE);
	wake(&engine->served);
}

static void checkpoint_thread(void *argument)
{
	struct engine *engine = argument;
	engine->tid = rt_sys_gettid();
	engine->bus_blocked = true; /* as everything is */
	rt_bus_unblock(engine);
	int result = engine->start_result = rt_engine_open_descriptor_table(engine);
	__atomic_store_n(&engine->ready, 1, __ATOMIC_RELEASE);
	wake(&engine->ready);
	if (result < 0) /* the program is refused, or runs on without us */
		for (;;)
			rt_syscall(SYS_exit, 0);
	/* After an exec that failed, the thread is a new one, but the rhythm goes on. */
	if (engine->due_ns == 0)
		engine->due_ns = rt_monotonic_ns() + engine->options.interval_ns;
	for (;;) {
		wait_until_due(engine, engine->due_ns);
		if (__atomic_load_n(&engine->stop, __ATOMIC_ACQUIRE))
			break;
		uint32_t request = __atomic_load_n(&engine->request, __ATOMIC_ACQUIRE);
		int64_t started = rt_monotonic_ns();
		result = run_checkpoint(engine);
		serve_requests(engine, request, result);
		engine->due_ns = next_time(engine, started);
	}
	engine->request_result = -ESRCH;
	__atomic_store_n(&engine->stopped, 1, __ATOMIC_RELEASE);
	__atomic_add_fetch(&engine->served, 1, __ATOMIC_ACQ_REL);
	wake(&engine->served);
	for (;;)
		rt_syscall(SYS_exit, engine->exit_code);
}

/* A thread pointer that only has what the compiler may read: its own address, twice. */
void *rt_make_tls(void)
{
	char *block = rt_memory_map(2 * TLS_SIZE);
	if (block == NULL)
		return NULL;
	uintptr_t *tcb = (uintptr_t *)(void *)(block + TLS_SIZE);
	tcb[0] = (uintptr_t)tcb;
	tcb[2] = (uintptr_t)tcb;
	return tcb;
}

int rt_spawn_thread(void *stack_top, void *tls, void (*entry)(void *), void *argument)
{
	uint64_t all = ~0UL, mask;
	rt_syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &mask, sizeof(all));
	int tid = rt_arch_spawn(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
					CLONE_SETTLS,
				stack_top, tls, entry, argument);
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
	return tid;
}

int rt_checkpoint_start(struct engine *engine)
{
	if (engine->stack == NULL)
		engine->stack = rt_memory_map(STACK_SIZE);
	if (engine->tls == NULL)
		engine->tls = rt_make_tls();
	if (engine->stack == NULL || engine->tls == NULL)
		return -ENOMEM;
	int tid = rt_spawn_thread(engine->stack + STACK_SIZE, engine->tls, checkpoint_thread, engine);
	if (tid < 0)
		return tid;
	while (!__atomic_load_n(&engine->ready, __ATOMIC_ACQUIRE))
		sleep_on(&engine->ready, 0, -1);
	return engine->start_result;
}

int rt_checkpoint_now(void)
{
	if (!rt_is_protected())
		return -ESRCH;
	struct engine *engine = rt_root.engine;
	int incarnation = __atomic_load_n(&rt_root.incarnation, __ATOMIC_ACQUIRE);
	uint32_t ticket = __atomic_add_fetch(&engine->request, 1, __ATOMIC_ACQ_REL);
	wake(&engine->request);
	for (;;) {
		/* In the restored process the checkpoint asked for, or a later one, has committed. */
		if (__atomic_load_n(&rt_root.incarnation, __ATOMIC_ACQUIRE) != incarnation)
			return 0;
		uint32_t served = __atomic_load_n(&engine->served, __ATOMIC_ACQUIRE);
		if ((int32_t)(served - ticket) >= 0)
			return engine->request_result;
		if (__atomic_load_n(&engine->stop, __ATOMIC_ACQUIRE))
			return -ESRCH;
		sleep_on(&engine->served, served, -1);
	}
}

void rt_checkpoint_stop(struct engine *engine)
{
	for (;;) {
		/* Said again in each turn: the caller may have been restored while it waited. */
		uint32_t served = __atomic_load_n(&engine->served, __ATOMIC_ACQUIRE);
		__atomic_store_n(&engine->stop, 1, __ATOMIC_RELEASE);
		__atomic_add_fetch(&engine->request, 1, __ATOMIC_ACQ_REL);
		wake(&engine->request);
		if (__atomic_load_n(&engine->stopped, __ATOMIC_ACQUIRE))
			return;
		sleep_on(&engine->served, served, -1);
	}
}
