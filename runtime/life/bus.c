/* SIGBUS in mappings of the store; see bus.h. Raw system calls only: any thread, anywhere. */
#include "bus.h"

#include <string.h>
#include <ucontext.h>

#include "base/sys.h"
#include "crash.h"
#include "engine.h"
#include "layout.h"
#include "threads/thread.h"

#define BUS_BIT (1UL << (SIGBUS - 1))

struct sigaction rt_bus_asked;

/* Nothing of a file is there any more: memory takes the page's place. */
static bool replace_page(uint64_t address)
{
	void *page = (void *)RT_PAGE_ALIGN_DOWN(address);
	void *mapped = rt_sys_mmap(page, RT_PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	if (mapped != page)
		return false;
	rt_syscall(SYS_madvise, page, RT_PAGE_SIZE, MADV_DONTFORK);
	return true;
}

static bool is_in_area(uint64_t address)
{
	return address >= RT_AREA_BASE && address < RT_AREA_END;
}

static void block_in_frame(ucontext_t *context)
{
	uint64_t mask;
	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	mask |= BUS_BIT;
	memcpy(&context->uc_sigmask, &mask, sizeof(mask));
}

/* Sent to the process, of which others may be meant to take it: it stays pending for them. */
static void send_on_to_process(const siginfo_t *info)
{
	if (rt_syscall(SYS_rt_sigqueueinfo, rt_root.pid, SIGBUS, info) < 0)
		rt_syscall(SYS_kill, rt_root.pid, SIGBUS);
}

/* It stays pending for the thread until the section ends. */
static void send_on_to_self(const siginfo_t *info)
{
	int tid = rt_sys_gettid();
	if (rt_syscall(SYS_rt_tgsigqueueinfo, rt_root.pid, tid, SIGBUS, info) < 0)
		rt_sys_tgkill(rt_root.pid, tid, SIGBUS);
}

bool rt_bus_take(const siginfo_t *info, void *context)
{
	struct engine *engine = rt_root.engine;
	if (engine == NULL)
		return false;
	if (info->si_code > 0) {
		if (!is_in_area((uint64_t)info->si_addr) || !replace_page((uint64_t)info->si_addr))
			return false;
		rt_store_note_fault(engine->store);
		return true;
	}
	if (rt_sys_gettid() == engine->tid)
		engine->bus_blocked = true;
	else if (!rt_local.saving)
		return false;
	if (info->si_code == SI_TKILL)
		send_on_to_self(info);
	else
		send_on_to_process(info);
	block_in_frame(context);
	return true;
}

void rt_bus_handle(int signal, siginfo_t *info, void *context)
{
	if (rt_bus_take(info, context))
		return;
	struct sigaction asked = rt_bus_asked;
	/* Left to the kernel, one that was for us would end the handler, too. */
	if (asked.sa_flags & (int)SA_RESETHAND)
		rt_crash_reset(signal, &asked);
	asked.sa_sigaction(signal, info, context);
}

void rt_bus_unblock(struct engine *engine)
{
	uint64_t pending = 0, bus = BUS_BIT;
	if (!engine->bus_blocked)
		return;
	rt_syscall(SYS_rt_sigpending, &pending, sizeof(pending));
	if (pending & bus)
		return;
	engine->bus_blocked = false;
	rt_syscall(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, &bus, NULL, sizeof(bus));
}
