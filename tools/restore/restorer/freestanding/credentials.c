/* Credentials: each thread's own; the privileges of the restore end with them. */
#include "freestanding.h"

#include <stdbool.h>
#include <sys/prctl.h>

#include "base/sys.h"

struct capability_header {
	uint32_t version;
	int tid;
};

#define CAPABILITY_HEADER                                       \
	{                                                       \
		0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0 \
	}

static void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct capability_header header = CAPABILITY_HEADER;
	uint32_t sets[6] = {
		(uint32_t)effective,         (uint32_t)permitted,         (uint32_t)inheritable,
		(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32),
	};
	rt_syscall(SYS_capset, &header, sets);
}

static uint64_t permitted_capabilities(void)
{
	struct capability_header header = CAPABILITY_HEADER;
	uint32_t sets[6] = {0, 0, 0, 0, 0, 0};
	rt_syscall(SYS_capget, &header, sets);
	return sets[1] | (uint64_t)sets[4] << 32;
}

static void take_user(const struct plan *plan)
{
	const struct manifest_process *process = &plan->process;
	rt_syscall(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
	/* A root that may not set its groups has those it had; nobody else may keep them. */
	long result = rt_syscall(SYS_setgroups, plan->group_count, plan->groups);
	if (result == -EPERM && process->uid[1] == 0)
		result = 0;
	if (result == 0)
		result = rt_syscall(SYS_setresgid, process->gid[0], process->gid[1], process->gid[2]);
	if (result == 0)
		result = rt_syscall(SYS_setresuid, process->uid[0], process->uid[1], process->uid[2]);
	if (result < 0)
		fail("taking the program's user", 0, result);
	rt_syscall(SYS_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
}

/* What we do not have, the process cannot get; what it did not have, it must not get. */
static void take_capabilities(const struct manifest_process *process)
{
	uint64_t all = permitted_capabilities();
	set_capabilities(all, all, 0);
	for (unsigned long number = 0; number < 64; number++)
		if (!(process->bounding >> number & 1) && rt_syscall(SYS_prctl, PR_CAPBSET_READ, number, 0, 0, 0) == 1)
			rt_syscall(SYS_prctl, PR_CAPBSET_DROP, number, 0, 0, 0);
	rt_syscall(SYS_prctl, PR_SET_SECUREBITS, process->secure_bits, 0, 0, 0);
	set_capabilities(process->effective & all, process->permitted & all, process->inheritable & all);
	for (unsigned long number = 0; number < 64; number++)
		if (process->ambient >> number & 1)
			rt_syscall(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0);
}

void take_credentials(const struct plan *plan)
{
	const struct manifest_process *process = &plan->process;
	if (plan->privileged) {
		take_user(plan);
		take_capabilities(process);
	} else if (process->uid[1] != 0) {
		set_capabilities(0, 0, 0);
	}
	if (process->no_new_privs)
		rt_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
