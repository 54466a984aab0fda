/*
 * Signals that are pending in the stop, each with all it carries. The kernel shows their numbers
 * only; what was queued with them is had by taking them off the queue and putting them back.
 *
 * This thread takes those of the process. A thread's own only that thread can take: it is told so
 * while it is parked, does it, and parks again (rt_thread_obey()). The main thread puts them back,
 * since the kernel lets no other thread of a process queue a signal as if kill() had sent it. All
 * this comes before the capture of memory: the threads write to their stacks.
 *
 * Left alone are those whose receipt has an effect of its own: the signals of timers (taking one starts
 * its timer again), of children and of job control, and those of libc. Of these the number is kept, and
 * what is known of the timer.
 */
#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "base/memory.h"
#include "base/message.h"
#include "base/parse.h"
#include "base/sys.h"
#include "capture/status.h"
#include "descriptor/table.h"
#include "engine.h"
#include "threads/thread.h"
#include "threads/wait.h"

#define BIT(number) (1UL << ((number)-1))
#define LEFT_ALONE                                                                                                  \
	(BIT(SIGKILL) | BIT(SIGSTOP) | BIT(SIGALRM) | BIT(SIGVTALRM) | BIT(SIGPROF) | BIT(SIGCHLD) | BIT(SIGCONT) | \
	 BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU) | BIT(32) | BIT(33))
#define FIRST_SIGNALS 64
#define LOOK_AGAIN_NS 1000000L
#define MOST_TAKES 16 /* timers with short intervals may expire during each */

/* ---- what the kernel shows ---- */

/* The number of a line of a status file, in the given base, to *value, and of what is behind a slash to *limit unless
 * NULL. 0 or -errno. */
static int read_status_field(int fd, const char *key, unsigned int base, uint64_t *value, uint64_t *limit)
{
	char text[RT_STATUS_BYTES];
	int result = rt_status_read(fd, text, sizeof(text));
	const char *at = result < 0 ? NULL : rt_status_find(text, key);
	if (at == NULL)
		return result < 0 ? result : -EIO;
	*value = rt_parse_number(&at, base);
	if (limit != NULL && *at++ == '/')
		*limit = rt_parse_number(&at, base);
	return 0;
}

/* The signals that one thread has pending for itself. 0, also when it has ended, or -errno. */
static int read_pending(const struct engine *engine, int tid, uint64_t *pending)
{
	char path[32];
	rt_format(path, sizeof(path), "%d/status", tid);
	int fd = rt_descriptor_open_file(engine->task_dir, path, O_RDONLY);
	*pending = 0;
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	int result = read_status_field(fd, "SigPnd:", 16, pending, NULL);
	rt_sys_close(fd);
	return result == -ESRCH ? 0 : result;
}

/*
 * Whether any thread may have a signal pending. Its sender may have run on after the receiver parked,
 * so only a look now tells. The kernel counts the signals queued for this user's processes, all of them
 * (SigQ): none queued, none pending, whatever the number of threads. 1, 0 or -errno.
 *
 * More of them than the limit allows (RLIMIT_SIGPENDING, lowered since) could not be put back: engine->too_many_signals.
 */
static int signals_are_queued(struct engine *engine)
{
	uint64_t count = 0, limit = UINT64_MAX;
	int result = read_status_field(engine->status_fd, "SigQ:", 10, &count, &limit);
	engine->too_many_signals = count > limit;
	return result < 0 ? result : count != 0;
}

/* ---- taking and putting back ---- */

/* Room for one more, so that what has been taken is never lost. 0 or -ENOMEM. */
static int make_room(struct pending_signals *signals)
{
	if (signals->count < signals->capacity)
		return 0;
	size_t entry = sizeof(signals->entries[0]);
	size_t capacity = signals->capacity ? 2 * signals->capacity : FIRST_SIGNALS;
	struct manifest_queued_signal *entries =
		rt_memory_grow(signals->entries, signals->capacity * entry, capacity * entry);
	if (entries == NULL)
		return -ENOMEM;
	signals->entries = entries;
	signals->capacity = capacity;
	return 0;
}

/* Not what stopped a thread that had parked before: it is parked. */
static void remember(struct pending_signals *signals, int tid, const siginfo_t *info)
{
	if (rt_straggler_is(info))
		return;
	struct manifest_queued_signal *entry = &signals->entries[signals->count++];
	entry->tid = tid;
	entry->number = info->si_signo;
	memcpy(entry->info, info, sizeof(entry->info));
}

/* Takes those of the set that are pending for the calling thread and the process; the kernel gives the former first. */
static int take_pending(struct pending_signals *signals, uint64_t set, int tid)
{
	const struct timespec at_once = {0, 0};
	for (;;) {
		siginfo_t info;
		int result = make_room(signals);
		if (result < 0)
			return result;
		memset(&info, 0, sizeof(info));
		if (rt_syscall(SYS_rt_sigtimedwait, &set, &info, &at_once, sizeof(set)) <= 0)
			return 0;
		remember(signals, tid, &info);
	}
}

/* What kill() sent only the main thread may queue, and what tgkill() sent only the receiver; else we send it, and
 * return false. */
static bool put_back_one(const struct manifest_queued_signal *entry)
{
	long result;
	if (entry->tid == 0)
		result = rt_syscall(SYS_rt_sigqueueinfo, rt_root.pid, entry->number, entry->info);
	else
		result = rt_syscall(SYS_rt_tgsigqueueinfo, rt_root.pid, entry->tid, entry->number, entry->info);
	if (result >= 0)
		return true;
	if (entry->tid == 0)
		rt_syscall(SYS_kill, rt_root.pid, entry->number);
	else
		rt_sys_tgkill(rt_root.pid, entry->tid, entry->number);
	return false;
}

/*
 * Puts back those that were taken. What has come in since, from a timer or another process, is taken first, or it would
 * be ahead of what is older. The caller's own signals were taken before; of those of the process, only tgkill() says
 * that it meant the caller.
 */
static int put_back(struct engine *engine)
{
	struct pending_signals *signals = &engine->pending;
	size_t taken = signals->count;
	int result = take_pending(signals, engine->taken_signals, 0);
	for (size_t i = taken; i < signals->count; i++) {
		siginfo_t info;
		memcpy(&info, signals->entries[i].info, sizeof(info));
		if (info.si_code == SI_TKILL)
			signals->entries[i].tid = rt_sys_gettid();
	}
	for (size_t i = 0; i < signals->count; i++)
		if ((BIT(signals->entries[i].number) & engine->taken_signals) && !put_back_one(&signals->entries[i]))
			signals->changed |= BIT(signals->entries[i].number);
	return result;
}

/* ---- commands to parked threads ---- */

void rt_thread_obey(struct engine *engine)
{
	if (engine->command == COMMAND_TAKE_SIGNALS)
		engine->command_result = take_pending(&engine->pending, engine->taken_signals, rt_sys_gettid());
	else
		engine->command_result = put_back(engine);
	__atomic_store_n(&engine->commanded, 0, __ATOMIC_RELEASE);
}

/* Has a parked thread do something and waits until it is parked again. */
static int command_thread(struct engine *engine, const struct stopped_thread *thread, enum thread_command command)
{
	struct rt_thread *record = thread->record;
	engine->command = command;
	engine->command_result = 0;
	__atomic_store_n(&engine->commanded, (uint64_t)&record->context, __ATOMIC_RELEASE);
	while (__atomic_load_n(&engine->commanded, __ATOMIC_ACQUIRE) != 0 ||
	       __atomic_load_n(&record->parked_round, __ATOMIC_ACQUIRE) != engine->round) {
		struct timespec look_again = {0, LOOK_AGAIN_NS};
		uint32_t seen = __atomic_load_n(&engine->events, __ATOMIC_ACQUIRE);
		/* It may be on its way to sleep and miss the wake-up: given again. */
		rt_syscall(SYS_futex, &engine->gate, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
		rt_syscall(SYS_futex, &engine->events, FUTEX_WAIT_PRIVATE, seen, &look_again, NULL, 0);
	}
	return engine->command_result;
}

/* ---- the stop ---- */

static const struct stopped_thread *main_thread(const struct engine *engine)
{
	for (int i = 0; i < engine->thread_count; i++)
		if (engine->threads[i].tid == rt_root.pid && !engine->threads[i].exited)
			return &engine->threads[i];
	return NULL;
}

/* What each thread has pending alone; adds which signals there are altogether to *pending. 0 or -errno. */
static int look_at_threads(struct engine *engine, uint64_t *pending)
{
	int queued = signals_are_queued(engine);
	/* A thread may still have ours; that the program has sent it the same is worth a look only where it has a handler. */
	uint64_t only_ours = rt_straggler_is_shared() && !engine->too_many_signals ? 0 : BIT(rt_root.signal);
	for (int i = 0; i < engine->thread_count && queued >= 0; i++) {
		struct stopped_thread *thread = &engine->threads[i];
		int result = 0;
		thread->pending = 0;
		if (queued && !thread->exited)
			result = read_pending(engine, thread->tid, &thread->pending);
		if (result < 0)
			return result;
		thread->pending &= ~only_ours;
		*pending |= thread->pending;
	}
	return queued < 0 ? queued : 0;
}

/*
 * Those of one queue that were put back and are taken again are known: forgets the copies, which stand among the entries
 * from `first` on, and leaves what is new behind all that is old. A queue gives signals of one number in their order.
 */
static void forget_copies(struct pending_signals *signals, size_t first, int tid)
{
	size_t known[_NSIG] = {0}, kept = first;
	for (size_t i = first; i < signals->count; i++) {
		const struct manifest_queued_signal *entry = &signals->entries[i];
		size_t *at = &known[entry->number];
		while (*at < first &&
		       (signals->entries[*at].tid != tid || signals->entries[*at].number != entry->number))
			++*at;
		if (*at < first && memcmp(signals->entries[*at].info, entry->info, sizeof(entry->info)) == 0)
			++*at;
		else
			signals->entries[kept++] = *entry;
	}
	signals->count = kept;
}

/* Takes those of the set that the process and each thread have pending. Each entry comes once. */
static int take_all(struct engine *engine, uint64_t set)
{
	struct pending_signals *signals = &engine->pending;
	size_t first = signals->count;
	int result = take_pending(signals, set, 0);
	forget_copies(signals, first, 0);
	for (int i = 0; i < engine->thread_count && result == 0; i++) {
		const struct stopped_thread *thread = &engine->threads[i];
		engine->taken_signals = thread->pending & set;
		if (engine->taken_signals == 0)
			continue;
		first = signals->count;
		result = command_thread(engine, thread, COMMAND_TAKE_SIGNALS);
		forget_copies(signals, first, thread->tid);
	}
	return result;
}

/* Takes those of the set and puts them back. 0 or -errno. */
static int take_and_put_back(struct engine *engine, uint64_t set)
{
	int result = take_all(engine, set);
	const struct stopped_thread *main = main_thread(engine);
	engine->taken_signals = set;
	int put = main ? command_thread(engine, main, COMMAND_PUT_BACK_SIGNALS) : put_back(engine);
	return result < 0 ? result : put;
}

/* A timer that has expired between taking and putting back has its signal ahead of what is older: once more. Not those
 * that cannot be told from others when they come again. */
static int put_expiries_in_order(struct engine *engine)
{
	int result = 0;
	for (int i = 0; i < MOST_TAKES && result == 0; i++) {
		uint64_t again = engine->takeable_signals & engine->shared_timer_signals & ~engine->pending.changed,
			 all = 0;
		if (again == 0 || !rt_shared_timer_expired(engine))
			break;
		result = look_at_threads(engine, &all);
		if (result == 0)
			result = take_and_put_back(engine, again);
	}
	return result;
}

int rt_capture_signals(struct engine *engine)
{
	uint64_t all = 0;
	engine->pending.count = 0;
	engine->pending.changed = 0;
	int result = rt_sample_timers(engine);
	if (result < 0)
		return result;
	/* This thread blocks everything and nothing is sent to it: what is pending is the process's. */
	rt_syscall(SYS_rt_sigpending, &engine->process_pending, sizeof(engine->process_pending));
	all = engine->process_pending;
	result = look_at_threads(engine, &all);
	if (result < 0)
		return result;
	engine->takeable_signals = engine->too_many_signals ? 0 : ~(LEFT_ALONE | engine->timer_signals);
	if ((all & ~LEFT_ALONE) != 0 && engine->too_many_signals && !engine->told_signals) {
		rt_say("more signals are pending than RLIMIT_SIGPENDING allows: a restored process gets one of each, "
		       "without what it carries");
		engine->told_signals = true;
	}
	if ((all & engine->takeable_signals) == 0)
		return 0;
	result = take_and_put_back(engine, engine->takeable_signals);
	return result < 0 ? result : put_expiries_in_order(engine);
}

bool rt_expiry_was_taken(const struct engine *engine, int timer)
{
	for (size_t i = 0; i < engine->pending.count; i++) {
		siginfo_t info;
		memcpy(&info, engine->pending.entries[i].info, sizeof(info));
		if (info.si_code == SI_TIMER && info.si_timerid == timer)
			return true;
	}
	return false;
}

void rt_write_signals_pending(struct engine *engine, struct manifest_writer *writer)
{
	for (size_t i = 0; i < engine->pending.count; i++)
		rt_manifest_add(writer, MANIFEST_QUEUED_SIGNAL, &engine->pending.entries[i],
				sizeof(engine->pending.entries[i]));
}
