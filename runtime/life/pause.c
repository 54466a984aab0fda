/*
 * Calls that no checkpoint may meet: exec, where a straggler signal left pending would end the new program, and what the
 * kernel refuses to a process of several threads. The runtime's thread, whether it takes checkpoints or stands by, ends
 * before such a call, and begins again when the last of them has failed or is over.
 */
#include "pause.h"

#include "base/lock.h"
#include "base/message.h"
#include "base/sys.h"
#include "daemon.h"
#include "engine.h"
#include "threads/thread.h"

/* In the image: threads are captured here, too, while they wait for the checkpoint thread to end. */
static uint32_t lock; /* rt_lock() */
static int pauses;    /* calls going on */

/* A signal handler might want the same. Stops are heeded. Returns the mask before. */
static uint64_t enter(void)
{
	uint64_t all = ~(1UL << (rt_root.signal - 1)), mask;
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &mask, sizeof(all));
	rt_lock(&lock);
	return mask;
}

static void leave(uint64_t mask)
{
	rt_unlock(&lock);
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
}

static void end_checkpoints(void)
{
	rt_checkpoint_stop(rt_root.engine);
	/* It has said so, but for the kernel it is there until it has ended. */
	while (rt_sys_tgkill(rt_root.pid, rt_root.engine->tid, 0) == 0)
		rt_syscall(SYS_sched_yield);
}

static void begin_checkpoints(struct engine *engine)
{
	engine->stop = engine->stopped = engine->ready = 0;
	if (rt_checkpoint_start(engine) < 0)
		rt_say("cannot start the checkpoint thread again: running unprotected");
}

void rt_pause_checkpoints(void)
{
	if (!rt_can_be_stopped())
		return;
	uint64_t mask = enter();
	if (pauses++ == 0) {
		rt_end_standing_by();
		if (rt_root.engine != NULL)
			end_checkpoints();
	}
	leave(mask);
}

void rt_checkpoints_go_on(void)
{
	if (!rt_can_be_stopped())
		return;
	uint64_t mask = enter();
	if (pauses > 0 && --pauses == 0) {
		if (rt_root.engine != NULL)
			begin_checkpoints(rt_root.engine);
		else
			rt_stand_by_again();
	}
	leave(mask);
}

void rt_forget_pauses(void)
{
	lock = RT_LOCK_FREE;
	pauses = 0;
}
