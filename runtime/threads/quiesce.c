/*
 * Bringing all threads of the program to a stop.
 *
 * Threads are found in /proc/self/task, not in a record of pthread_create() calls. Those that
 * have straggled before get the signal at once, the others after a grace time in which they may
 * park at a restart point. The stop is complete when a listing that began after all known
 * threads were parked finds no other.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <linux/futex.h>
#include <string.h>

#include "arch/x86_64/context.h"
#include "base/aside.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "engine.h"
#include "thread.h"
#include "wait.h"

#define GRACE_NS 50000L                 /* for reaching a restart point before the signal */
#define GIVE_UP_NS 200000000L           /* a vfork or a stuck device can hold a thread longer */
#define LOOK_NS 20000000L               /* between two looks at the last thread */
#define LOOKS 5                         /* at which it did not want to run, before we give up */
#define GIVE_UP_RUNNABLE_NS 5000000000L /* one that only waits for a processor will come */
#define POLL_NS 1000000L                /* looks for new and ended threads meanwhile */
#define FIRST_THREADS 256
#define LOOK_STACK 16384
#define RETRY_RESTART_POINT_ROUNDS 64 /* how often a straggler gets the grace again */

struct directory_entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

static int parse_tid(const char *name)
{
	int tid = 0;
	for (; *name >= '0' && *name <= '9'; name++)
		tid = tid * 10 + (*name - '0');
	return tid;
}

static struct stopped_thread *listed_thread(struct engine *engine, int tid)
{
	for (int i = 0; i < engine->thread_count; i++)
		if (engine->threads[i].tid == tid)
			return &engine->threads[i];
	return NULL;
}

static int grow_listing(struct engine *engine)
{
	size_t old_size = (size_t)engine->thread_capacity * sizeof(struct stopped_thread);
	size_t size = old_size ? 2 * old_size : FIRST_THREADS * sizeof(struct stopped_thread);
	struct stopped_thread *threads =
		old_size ? rt_memory_grow(engine->threads, old_size, size) : rt_memory_map(size);
	if (threads == NULL)
		return -ENOMEM;
	engine->threads = threads;
	struct stopped_thread *listing =
		old_size ? rt_memory_grow(engine->listing, old_size, size) : rt_memory_map(size);
	if (listing == NULL)
		return -ENOMEM;
	engine->listing = listing;
	engine->thread_capacity = (int)(size / sizeof(struct stopped_thread));
	return 0;
}

/* Puts a thread into the new listing, with what was known of it. The kernel lists threads in the
 * order of their creation, so it is usually found where it was. */
static int list_thread(struct engine *engine, int tid, int position)
{
	struct stopped_thread *known = position < engine->thread_count && engine->threads[position].tid == tid
					       ? &engine->threads[position]
					       : listed_thread(engine, tid);
	if (position == engine->thread_capacity && grow_listing(engine) < 0)
		return -ENOMEM;
	engine->listing[position] = known ? *known : (struct stopped_thread){.tid = tid};
	return 0;
}

/* Reads the task directory into engine->threads. 0 or -errno. */
static int list_threads(struct engine *engine)
{
	char buffer[8192];
	int count = 0;
	if (rt_sys_lseek(engine->task_dir, 0, SEEK_SET) < 0)
		return -EIO;
	for (;;) {
		long got = rt_syscall(SYS_getdents64, engine->task_dir, buffer, sizeof(buffer));
		if (got < 0)
			return (int)got;
		if (got == 0)
			break;
		for (long at = 0; at < got;) {
			const struct directory_entry *entry = (const void *)(buffer + at);
			int tid = parse_tid(entry->name);
			at += entry->length;
			if (tid == 0 || tid == engine->tid)
				continue;
			if (list_thread(engine, tid, count) < 0)
				return -ENOMEM;
			count++;
		}
	}
	struct stopped_thread *listing = engine->listing;
	engine->listing = engine->threads;
	engine->threads = listing;
	engine->thread_count = count;
	return 0;
}

/* The state letter of a thread, as in proc(5); 0 when there is no such thread. */
static char thread_state(const struct engine *engine, int tid)
{
	char path[32], text[512];
	rt_format(path, sizeof(path), "%d/stat", tid);
	int fd = rt_sys_openat(engine->task_dir, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	ssize_t length = rt_sys_read(fd, text, sizeof(text) - 1);
	rt_sys_close(fd);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	const char *state = strrchr(text, ')');
	if (state == NULL || state[1] != ' ')
		return 0;
	return state[2];
}

/* Whether a thread is a zombie: the main thread after pthread_exit(). */
static bool has_exited(const struct engine *engine, int tid)
{
	char state = thread_state(engine, tid);
	return state == 'Z' || state == 'X';
}

bool rt_has_left_memory(const struct engine *engine, int tid)
{
	char path[32], byte;
	rt_format(path, sizeof(path), "%d/exe", tid);
	return rt_syscall(SYS_readlinkat, engine->task_dir, path, &byte, sizeof(byte)) == -ENOENT;
}

struct look {
	const struct engine *engine;
	int tid;
	char state;
};

static void look_at_state(void *argument)
{
	struct look *look = argument;
	look->state = thread_state(look->engine, look->tid);
}

/* The same while the program runs. */
static char thread_state_aside(struct engine *engine, int tid)
{
	struct look look = {.engine = engine, .tid = tid};
	if (engine->look_stack == NULL && (engine->look_stack = rt_memory_map(LOOK_STACK)) == NULL)
		return 0;
	rt_run_aside(engine->look_stack, LOOK_STACK, RT_ASIDE_COPY, look_at_state, &look);
	return look.state;
}

static bool is_parked(struct engine *engine, struct stopped_thread *thread)
{
	if (thread->exited)
		return true;
	if (thread->record == NULL || __atomic_load_n(&thread->record->tid, __ATOMIC_RELAXED) != thread->tid)
		thread->record = rt_thread_find(thread->tid);
	return thread->record != NULL &&
	       __atomic_load_n(&thread->record->parked_round, __ATOMIC_ACQUIRE) == engine->round;
}

static int record_index(const struct rt_thread *record)
{
	return (int)(record - rt_thread_at(0));
}

static bool is_known_straggler(struct engine *engine, const struct stopped_thread *thread)
{
	if (engine->round % RETRY_RESTART_POINT_ROUNDS == 0)
		return false;
	return thread->record == NULL || engine->straggles[record_index(thread->record)];
}

/* Whether the signal came at a bad moment: it is sent again the next time, so that it runs on till then. */
static bool was_postponed(struct engine *engine, struct stopped_thread *thread)
{
	if (thread->record == NULL || !__atomic_exchange_n(&thread->record->postponed, 0, __ATOMIC_ACQ_REL))
		return false;
	engine->postponed = true;
	thread->signalled_round = 0;
	return true;
}

/* Signals those that need it; returns how many threads are not parked yet. */
static int press_threads(struct engine *engine, bool grace_over)
{
	int running = 0;
	engine->postponed = false;
	for (int i = 0; i < engine->thread_count; i++) {
		struct stopped_thread *thread = &engine->threads[i];
		if (is_parked(engine, thread))
			continue;
		running++;
		engine->unparked = thread->tid;
		if (was_postponed(engine, thread))
			continue;
		if (thread->signalled_round == engine->round) {
			if (thread->tid == rt_root.pid && rt_has_left_memory(engine, thread->tid))
				thread->exited = true;
		} else if (grace_over || is_known_straggler(engine, thread)) {
			thread->signalled_round = engine->round;
			engine->signal_refused |= rt_straggler_send(thread->tid) == -EAGAIN;
		}
	}
	return running;
}

/* The thread for which all others wait, as it was at several looks. */
struct last_thread {
	int tid;
	int looks; /* in a row at which it did not want to run */
	int64_t looked_ns;
};

static void look_at_last(struct engine *engine, struct last_thread *last)
{
	if (last->tid != engine->unparked)
		last->looks = 0;
	last->tid = engine->unparked;
	last->looks = thread_state_aside(engine, last->tid) == 'R' ? 0 : last->looks + 1;
	last->looked_ns = rt_monotonic_ns();
}

/*
 * Whether waiting for the last thread is in vain. On a busy machine it may not get to run, or not often: then
 * it is seen asleep now and then, waiting for memory's lock, or because it has parked while we looked. Nor
 * may we have run ourselves. So time alone says nothing, only several looks do.
 */
static bool is_hopeless(struct engine *engine, struct last_thread *last, int64_t start)
{
	int64_t now = rt_monotonic_ns(), waited = now - start;
	if (waited <= GIVE_UP_NS / 2 || now - last->looked_ns < LOOK_NS)
		return false;
	look_at_last(engine, last);
	if (waited <= GIVE_UP_RUNNABLE_NS && (waited <= GIVE_UP_NS || last->looks < LOOKS))
		return false;
	return press_threads(engine, true) > 0;
}

static void wait_for_event(struct engine *engine, uint32_t seen, int64_t timeout_ns)
{
	struct timespec timeout = {.tv_sec = 0, .tv_nsec = timeout_ns};
	rt_syscall(SYS_futex, &engine->events, FUTEX_WAIT_PRIVATE, seen, &timeout, NULL, 0);
}

/*
 * Whether the listing is whole. A thread that ends while the kernel walks its list cuts the
 * listing short; the directory's link count is two more than the number of threads.
 */
static bool listing_is_complete(struct engine *engine)
{
	struct stat status;
	if (rt_sys_fstat(engine->task_dir, &status) < 0)
		return false;
	return (int)status.st_nlink - 2 == engine->thread_count + 1; /* the checkpoint thread */
}

/* Whether every thread of a fresh listing is parked. */
static int all_parked(struct engine *engine)
{
	int result = list_threads(engine);
	if (result < 0)
		return result;
	if (!listing_is_complete(engine))
		return 0;
	for (int i = 0; i < engine->thread_count; i++)
		if (!is_parked(engine, &engine->threads[i]))
			return 0;
	return 1;
}

static void learn_stragglers(struct engine *engine)
{
	for (int i = 0; i < engine->thread_count; i++) {
		const struct stopped_thread *thread = &engine->threads[i];
		if (thread->record == NULL)
			continue;
		engine->straggles[record_index(thread->record)] = thread->record->by_signal != 0;
		engine->statistics.stragglers += thread->record->by_signal != 0;
	}
}

static void close_gate(struct engine *engine)
{
	if (++engine->round == 0)
		engine->round = 1;
	__atomic_store_n(&engine->gate, engine->round, __ATOMIC_SEQ_CST);
	__atomic_store_n(&rt_root.wanted, 1, __ATOMIC_SEQ_CST);
}

static void open_gate(struct engine *engine)
{
	__atomic_store_n(&rt_root.wanted, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&engine->gate, 0, __ATOMIC_SEQ_CST);
	rt_syscall(SYS_futex, &engine->gate, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Whether no thread of the program is left: the last one did not end the process, only itself. */
static bool has_ended(const struct engine *engine)
{
	for (int i = 0; i < engine->thread_count; i++)
		if (!engine->threads[i].exited)
			return false;
	return true;
}

bool rt_program_has_ended(const struct engine *engine)
{
	struct stat status;
	/* "." and "..", the main thread, which the kernel keeps, and the checkpoint thread. */
	return rt_sys_fstat(engine->task_dir, &status) == 0 && status.st_nlink == 4 &&
	       rt_has_left_memory(engine, rt_root.pid) && has_exited(engine, rt_root.pid);
}

int rt_quiesce(struct engine *engine)
{
	int result = list_threads(engine);
	if (result < 0)
		return result;
	close_gate(engine);
	engine->signal_refused = false;
	struct last_thread last = {0};
	int64_t start = rt_monotonic_ns(), now = start;
	for (;;) {
		uint32_t seen = __atomic_load_n(&engine->events, __ATOMIC_ACQUIRE);
		bool grace_over = now - start >= GRACE_NS;
		if (press_threads(engine, grace_over) == 0) {
			/* The list was complete only if none of them started another meanwhile. */
			result = all_parked(engine);
			if (result != 0)
				break;
			continue;
		}
		int64_t patience = engine->postponed ? GRACE_NS : POLL_NS;
		wait_for_event(engine, seen, grace_over ? patience : GRACE_NS - (now - start));
		int64_t before = now;
		now = rt_monotonic_ns();
		if (is_hopeless(engine, &last, start)) {
			result = -ETIMEDOUT;
			break;
		}
		if (grace_over && now - before >= POLL_NS && list_threads(engine) < 0)
			continue;
	}
	if (result < 0) {
		open_gate(engine);
		return result;
	}
	if (has_ended(engine)) {
		open_gate(engine);
		return -ESRCH;
	}
	engine->had_more_threads = engine->thread_count > 1;
	learn_stragglers(engine);
	return 0;
}

/* Records of threads that have ended become free again. */
static void free_records(struct engine *engine)
{
	int size = rt_thread_table_size();
	if (size <= engine->thread_count)
		return;
	for (int i = 0; i < size; i++) {
		struct rt_thread *record = rt_thread_at(i);
		if (record->tid != 0 && listed_thread(engine, record->tid) == NULL)
			__atomic_store_n(&record->tid, 0, __ATOMIC_RELEASE);
	}
}

void rt_resume_threads(struct engine *engine)
{
	/* All threads are parked: none is between finding a record and using it. */
	free_records(engine);
	open_gate(engine);
}
