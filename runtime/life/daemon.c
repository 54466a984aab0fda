/*
 * Daemons: the process that was protected forks and ends, and the one that stays is to be protected.
 *
 * A fork child that makes itself the leader of a session stands by: a thread of the runtime waits until
 * the protected process has ended. When that one ended by itself, the thread takes the store over and
 * protection goes on in this process, from a first checkpoint of its own. When it was killed, its last
 * checkpoint stays what the store holds. The first child of a process that stands by, or has taken over
 * so, stands by too, for the custom of forking twice.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "arch/x86_64/context.h"
#include "base/hidden.h"
#include "base/memory.h"
#include "base/message.h"
#include "base/sys.h"
#include "crash.h"
#include "environment.h"
#include "start.h"
#include "threads/thread.h"

#define STACK_SIZE (256 * 1024)
#define RETRY_NS 100000000L /* when threads could not be stopped */

static int protected_ancestor; /* nearest, in a fork child; 0: none */
static int parent;             /* who forked this process */
static int self;               /* this process; in a child, until it takes note, its parent */
static bool is_daemon;         /* leads a session, or is the first child of a process that does */
static bool has_forked;
static bool stands_by;

/* The thread that waits, and its descriptors. */
static struct {
	struct engine *engine;
	char *stack;
	void *tls;
	int tid;
	bool waits; /* cleared in its last stop */
	bool told_to_end;
	int awaited;  /* a process whose end comes first; negative: it has ended */
	int task_dir; /* the engine opens its own */
	int wake;     /* an eventfd */
} standby;

/*
 * Descriptors get the lowest free number first, which the program may count on: they are opened where no
 * thread of it runs, in its own call of setsid() or in a stop.
 */
static int open_process(int pid)
{
	return rt_hide((int)rt_syscall(SYS_pidfd_open, pid, 0));
}

static void close_hidden(int fd)
{
	rt_unhide(fd);
	rt_sys_close(fd);
}

/* They are closed in a stop: a child that is forked knows all it has inherited. */
static void close_awaited(void)
{
	if (standby.awaited >= 0)
		close_hidden(standby.awaited);
	standby.awaited = -1;
}

/* Sleeps until the process is gone. false: told to end. */
static bool wait_for_end(void)
{
	struct pollfd waits[] = {{.fd = standby.wake, .events = POLLIN}, {.fd = standby.awaited, .events = POLLIN}};
	while (standby.awaited >= 0 && rt_syscall(SYS_ppoll, waits, 2, NULL, NULL, 0) == -EINTR)
		;
	return !__atomic_load_n(&standby.told_to_end, __ATOMIC_ACQUIRE);
}

/* The store, unless what it holds is not ours to replace. -EBUSY: its process still lives. */
static int open_inheritance(struct store **store)
{
	struct store_status status;
	int holder = 0;
	int result = rt_store_open(rt_root.directory, true, rt_hidden_floor(), store, &holder);
	if (result < 0)
		return result == -EBUSY && holder != protected_ancestor ? -EPERM : result;
	rt_store_status(*store, &status);
	/* Without a checkpoint: of a process that ended while it took over. */
	if (status.state == STORE_ENDED || status.epoch == 0)
		return 0;
	rt_store_close(*store);
	return -EPERM;
}

/* In the stop: protection goes on in this process. */
static int take_over(struct engine *engine)
{
	struct store *store;
	const char *step;
	int result = open_inheritance(&store);
	if (result < 0)
		return result;
	result = rt_store_clear(store);
	if (result == 0)
		result = rt_store_set_owner(store, rt_root.pid, rt_process_start_time());
	if (result == 0)
		result = rt_engine_open(engine, store, &step);
	if (result == 0)
		result = rt_write_pid_file();
	if (result < 0) {
		rt_store_close(store);
		return result;
	}
	rt_finished = 0;
	rt_crash_clear(engine);
	__atomic_store_n(&rt_root.engine, engine, __ATOMIC_RELEASE);
	rt_crash_install();
	if ((result = rt_checkpoint_start(engine)) < 0)
		rt_root.engine = NULL;
	return result;
}

/* false: told to end. */
static bool stop_threads(struct engine *engine)
{
	const struct timespec pause = {0, RETRY_NS};
	while (rt_quiesce(engine) < 0) {
		if (__atomic_load_n(&standby.told_to_end, __ATOMIC_ACQUIRE))
			return false;
		rt_syscall(SYS_nanosleep, &pause, NULL);
	}
	return true;
}

/* Waits for its turn and takes the store over, unless it is told to end before. */
static void await_turn(struct engine *engine)
{
	const struct timespec pause = {0, RETRY_NS};
	int result;
	do {
		if (!wait_for_end() || !stop_threads(engine))
			return;
		close_awaited();
		result = take_over(engine);
		if (result == -EBUSY) {
			standby.awaited = open_process(protected_ancestor);
		} else { /* before a checkpoint can take them for the program's */
			close_hidden(standby.task_dir);
			close_hidden(standby.wake);
			__atomic_store_n(&standby.waits, false, __ATOMIC_RELEASE);
		}
		rt_resume_threads(engine);
		if (result == -EBUSY && standby.awaited < 0)
			rt_syscall(SYS_nanosleep, &pause, NULL);
	} while (result == -EBUSY);
	if (result < 0)
		rt_root.stopper = NULL;
	if (result == -EACCES)
		rt_say("%s: not accessible any more: the daemon runs unprotected", rt_root.directory);
}

static void stand_by(void *argument)
{
	struct engine *engine = argument;
	engine->tid = rt_sys_gettid();
	await_turn(engine);
	for (;;)
		rt_syscall(SYS_exit, 0);
}

/* For a program that this process executes: it stands by in its place. Others take it for a child's. */
static void mark_environment(void)
{
	char text[32];
	snprintf(text, sizeof(text), "%d,%d", rt_sys_getpid(), protected_ancestor);
	rt_environment_set(RT_PROTECTED_VARIABLE, text);
}

static bool spawn(void)
{
	standby.told_to_end = false;
	standby.waits = true;
	standby.tid = rt_spawn_thread(standby.stack + STACK_SIZE, standby.tls, stand_by, standby.engine);
	if (standby.tid < 0)
		standby.waits = false;
	return standby.waits;
}

static bool make_thread(void)
{
	standby.engine = rt_engine_make();
	standby.stack = rt_memory_map(STACK_SIZE);
	standby.tls = rt_make_tls();
	return standby.engine != NULL && standby.stack != NULL && standby.tls != NULL;
}

static void start_standing_by(void)
{
	if (!make_thread())
		return;
	standby.wake = rt_hide((int)rt_syscall(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
	standby.task_dir = rt_hide(rt_sys_openat(AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
	if (standby.task_dir < 0 || standby.wake < 0)
		return;
	standby.engine->task_dir = standby.task_dir;
	standby.awaited = open_process(parent);
	stands_by = true;
	rt_root.pid = rt_sys_getpid();
	rt_root.stopper = standby.engine;
	mark_environment();
	spawn();
}

void rt_end_standing_by(void)
{
	uint64_t one = 1;
	if (!__atomic_load_n(&standby.waits, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&standby.told_to_end, true, __ATOMIC_RELEASE);
	rt_sys_write(standby.wake, &one, sizeof(one));
	/* Where it has taken the store over, this process may be restored meanwhile, with other threads. */
	while (__atomic_load_n(&standby.waits, __ATOMIC_ACQUIRE) && rt_sys_tgkill(rt_root.pid, standby.tid, 0) == 0)
		rt_syscall(SYS_sched_yield);
}

void rt_stand_by_again(void)
{
	uint64_t count;
	if (!standby.waits)
		return;
	rt_sys_read(standby.wake, &count, sizeof(count));
	if (!spawn())
		rt_say("cannot start a thread: the daemon runs unprotected");
}

void rt_become_daemon(void)
{
	if (protected_ancestor == 0 || stands_by || rt_root.engine != NULL)
		return;
	is_daemon = true;
	start_standing_by();
}

void rt_stand_by_for(int ancestor)
{
	protected_ancestor = ancestor;
	parent = ancestor;
	is_daemon = true;
	start_standing_by();
}

void rt_prepare_fork(void)
{
	self = rt_sys_getpid();
	rt_note_fork();
}

void rt_after_fork(void)
{
	has_forked = true;
}

void rt_enter_child(void)
{
	bool first_of_daemon = is_daemon && !has_forked;
	if (rt_root.engine != NULL || stands_by)
		protected_ancestor = rt_root.engine != NULL ? rt_root.pid : protected_ancestor;
	if (protected_ancestor == 0)
		return;
	/* The parent may have ended by now: getppid() would name init. */
	parent = self;
	self = rt_sys_getpid();
	rt_leave_child();
	standby.waits = false;
	stands_by = false;
	has_forked = false;
	is_daemon = first_of_daemon;
	if (first_of_daemon)
		start_standing_by();
}
