/*
 * Thread records and parking; see thread.h.
 *
 * Rules: this code runs on program threads, at any restart point and inside the straggler
 * handler, so it may have interrupted anything: raw system calls only, no errno, no locks.
 * Between the mark "parked" and the wake-up it writes no memory of the image.
 */
#include "thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

#include "arch/x86_64/context.h"
#include "base/sys.h"
#include "base/uapi.h"
#include "engine.h"
#include "layout.h"

struct thread_table {
	int size; /* records ever used */
	struct rt_thread records[RT_MAX_THREADS];
};

#define THREADS ((struct thread_table *)RT_THREADS_BASE)

struct rt_root rt_root;
__thread struct rt_local rt_local;

bool rt_is_protected(void)
{
	return rt_root.engine != NULL && rt_sys_getpid() == rt_root.pid;
}

bool rt_can_be_stopped(void)
{
	return rt_root.stopper != NULL && rt_sys_getpid() == rt_root.pid;
}

int rt_threads_start(void)
{
	void *table = rt_sys_mmap(THREADS, sizeof(*THREADS), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	return rt_is_error(table) ? (int)(intptr_t)table : 0;
}

void rt_threads_forget(void)
{
	for (int i = 0; i < THREADS->size; i++)
		THREADS->records[i] = (struct rt_thread){0};
	THREADS->size = 0;
	rt_local.thread = NULL;
}

int rt_thread_table_size(void)
{
	return __atomic_load_n(&THREADS->size, __ATOMIC_ACQUIRE);
}

struct rt_thread *rt_thread_at(int index)
{
	return &THREADS->records[index];
}

struct rt_thread *rt_thread_find(int tid)
{
	int size = rt_thread_table_size();
	for (int i = 0; i < size; i++)
		if (__atomic_load_n(&THREADS->records[i].tid, __ATOMIC_RELAXED) == tid)
			return &THREADS->records[i];
	return NULL;
}

static bool claim_record(struct rt_thread *record, int tid)
{
	int expected = 0;
	return __atomic_compare_exchange_n(&record->tid, &expected, tid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Takes a free record; the checkpoint thread frees those of threads that have ended. A new one is free for all
 * as soon as the table has grown. */
static struct rt_thread *take_record(int tid)
{
	for (;;) {
		int size = rt_thread_table_size();
		for (int i = 0; i < size && i < RT_MAX_THREADS; i++)
			if (claim_record(&THREADS->records[i], tid))
				return &THREADS->records[i];
		int index = __atomic_fetch_add(&THREADS->size, 1, __ATOMIC_ACQ_REL);
		if (index >= RT_MAX_THREADS)
			return NULL;
		if (claim_record(&THREADS->records[index], tid))
			return &THREADS->records[index];
	}
}

/* glibc registers rseq(2) itself and says where (2.35 and later). */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

#define RSEQ_REGISTERED_LENGTH 32 /* what glibc registers, whatever it uses */

static void describe_rseq(struct rt_thread *thread)
{
	thread->rseq_address = 0;
	if (&__rseq_size == NULL || __rseq_size == 0)
		return;
	thread->rseq_address = thread->tls_base + (uint64_t)__rseq_offset;
	thread->rseq_length = RSEQ_REGISTERED_LENGTH;
}

/* What does not change in a thread's life. */
static void describe_thread(struct rt_thread *thread)
{
	rt_syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &thread->tls_base);
	rt_syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &thread->gs_base);
	if (rt_syscall(SYS_prctl, PR_GET_TID_ADDRESS, &thread->clear_child_tid, 0, 0, 0) < 0)
		thread->clear_child_tid = 0;
	describe_rseq(thread);
}

struct capability_header {
	uint32_t version;
	int32_t tid; /* 0: the caller */
};

#define CAPABILITY_HEADER                                       \
	{                                                       \
		0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0 \
	}

/* The kernel has effective, permitted, inheritable of the lower 32, then of the higher ones. */
void rt_credentials_read(struct rt_credentials *credentials)
{
	struct capability_header header = CAPABILITY_HEADER;
	uint32_t sets[6] = {0};
	rt_syscall(SYS_getresuid, &credentials->uid[0], &credentials->uid[1], &credentials->uid[2]);
	rt_syscall(SYS_getresgid, &credentials->gid[0], &credentials->gid[1], &credentials->gid[2]);
	rt_syscall(SYS_capget, &header, sets);
	credentials->effective = sets[0] | (uint64_t)sets[3] << 32;
	credentials->permitted = sets[1] | (uint64_t)sets[4] << 32;
	credentials->inheritable = sets[2] | (uint64_t)sets[5] << 32;
}

void rt_credentials_set_capabilities(const struct rt_credentials *credentials)
{
	struct capability_header header = CAPABILITY_HEADER;
	uint32_t sets[6] = {
		(uint32_t)credentials->effective,         (uint32_t)credentials->permitted,
		(uint32_t)credentials->inheritable,       (uint32_t)(credentials->effective >> 32),
		(uint32_t)(credentials->permitted >> 32), (uint32_t)(credentials->inheritable >> 32),
	};
	rt_syscall(SYS_capset, &header, sets);
}

static void refresh_main_thread(struct rt_thread *thread)
{
	thread->secure_bits = (uint32_t)rt_syscall(SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0);
	rt_syscall(SYS_prctl, PR_GET_PDEATHSIG, &thread->parent_death_signal, 0, 0, 0);
}

/* What may have changed since the last time. */
static void refresh_thread(struct rt_thread *thread)
{
	rt_syscall(SYS_sigaltstack, NULL, &thread->alternate_stack);
	rt_syscall(SYS_prctl, PR_GET_NAME, thread->name, 0, 0, 0);
	rt_syscall(SYS_get_robust_list, 0, &thread->robust_list, &thread->robust_list_length);
	thread->timer_slack = (uint64_t)rt_syscall(SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0);
	if (thread->tid == rt_root.pid)
		refresh_main_thread(thread);
}

/* The caller's record. Threads made by raw clone() may share another's TLS: the tid decides. */
static struct rt_thread *own_record(void)
{
	int tid = rt_sys_gettid();
	struct rt_thread *thread = rt_local.thread;
	if (thread != NULL && thread->tid == tid)
		return thread;
	thread = rt_thread_find(tid);
	if (thread == NULL)
		thread = take_record(tid);
	if (thread == NULL)
		return NULL;
	describe_thread(thread);
	rt_local.thread = thread;
	return thread;
}

bool rt_thread_stop(bool by_signal)
{
	struct engine *engine = rt_root.stopper;
	uint32_t round = __atomic_load_n(&engine->gate, __ATOMIC_ACQUIRE);
	if (round == 0)
		return false;
	struct rt_thread *thread = own_record();
	if (thread == NULL)
		return false;
	refresh_thread(thread);
	thread->by_signal = by_signal;
	int outcome;
	do {
		outcome = rt_arch_park(&thread->context, &thread->parked_round, round, &engine->events, &engine->gate,
				       &engine->commanded);
		__atomic_store_n(&thread->parked_round, 0, __ATOMIC_RELEASE);
		if (outcome == RT_PARK_COMMANDED)
			rt_thread_obey(engine);
	} while (outcome == RT_PARK_COMMANDED);
	if (outcome == RT_PARK_RESTORED)
		__atomic_fetch_sub(&rt_root.leaving_restorer, 1, __ATOMIC_RELEASE);
	return outcome == RT_PARK_RESTORED;
}

void rt_thread_postpone(void)
{
	struct engine *engine = rt_root.stopper;
	struct rt_thread *thread = own_record();
	if (thread == NULL)
		return;
	__atomic_store_n(&thread->postponed, 1, __ATOMIC_RELEASE);
	__atomic_add_fetch(&engine->events, 1, __ATOMIC_ACQ_REL);
	rt_syscall(SYS_futex, &engine->events, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void rt_restart_point_slow(void)
{
	if (!rt_can_be_stopped())
		return;
	uint64_t all = ~0UL, mask;
	rt_syscall(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, &mask, sizeof(all));
	rt_thread_stop(false);
	rt_syscall(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, &mask, NULL, sizeof(mask));
}
