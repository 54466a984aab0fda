/*
 * The program's user, groups and capabilities.
 *
 * The kernel keeps them for each thread. libc changes those of the threads it knows, and so not ours:
 * the checkpoint thread takes over what the main thread has, so that no thread of a daemon that has
 * given up its privileges still has them. What it needs from then on it has open.
 *
 * The main thread's are read from its status in /proc, in the stop (a few microseconds): read before, they might
 * have changed since. They are taken over if they are not ours.
 */
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/memory.h"
#include "base/message.h"
#include "base/parse.h"
#include "base/sys.h"
#include "capture/status.h"
#include "engine.h"
#include "threads/thread.h"

#define MAX_GROUPS 1024
#define CAPABILITIES 64
#define SECCOMP_FILTERS 2 /* SECCOMP_MODE_FILTER */

struct process_credentials {
	struct rt_credentials main; /* the main thread's */
	uint64_t bounding, ambient;
	uint32_t groups[MAX_GROUPS];
	size_t group_count;
	uint64_t no_new_privs, seccomp;
	bool told_seccomp;
	char text[RT_STATUS_BYTES];
};

/* ---- the text ---- */

static uint64_t take_number(const char **at, unsigned base)
{
	while (**at == ' ' || **at == '\t')
		(*at)++;
	return rt_parse_number(at, base);
}

/* 0 when there is no such line. */
static uint64_t number_of(const char *text, const char *key, unsigned base)
{
	const char *at = rt_status_find(text, key);
	return at == NULL ? 0 : take_number(&at, base);
}

/* Real, effective, saved; the fourth is that of the file system and follows the effective one. */
static void three_of(const char *text, const char *key, uint32_t *ids)
{
	const char *at = rt_status_find(text, key);
	for (int i = 0; at != NULL && i < 3; i++)
		ids[i] = (uint32_t)take_number(&at, 10);
}

static void groups_of(struct process_credentials *credentials)
{
	const char *at = rt_status_find(credentials->text, "Groups:");
	credentials->group_count = 0;
	while (at != NULL && *at >= '0' && *at <= '9' && credentials->group_count < MAX_GROUPS) {
		credentials->groups[credentials->group_count++] = (uint32_t)take_number(&at, 10);
		while (*at == ' ')
			at++;
	}
}

static int read_status(struct engine *engine)
{
	struct process_credentials *credentials = engine->credentials;
	const char *text = credentials->text;
	int result = rt_status_read(engine->status_fd, credentials->text, sizeof(credentials->text));
	if (result < 0)
		return result;
	/* The last of those that are always there. */
	if (rt_status_find(text, "NoNewPrivs:") == NULL)
		return -EIO;
	three_of(text, "Uid:", credentials->main.uid);
	three_of(text, "Gid:", credentials->main.gid);
	groups_of(credentials);
	credentials->main.inheritable = number_of(text, "CapInh:", 16);
	credentials->main.permitted = number_of(text, "CapPrm:", 16);
	credentials->main.effective = number_of(text, "CapEff:", 16);
	credentials->bounding = number_of(text, "CapBnd:", 16);
	credentials->ambient = number_of(text, "CapAmb:", 16);
	credentials->no_new_privs = number_of(text, "NoNewPrivs:", 10);
	credentials->seccomp = number_of(text, "Seccomp:", 10);
	return 0;
}

/* ---- taking them over ---- */

static bool groups_differ(const struct process_credentials *credentials)
{
	uint32_t own[MAX_GROUPS];
	long count = rt_syscall(SYS_getgroups, MAX_GROUPS, own);
	return count != (long)credentials->group_count ||
	       memcmp(own, credentials->groups, credentials->group_count * sizeof(own[0])) != 0;
}

static void drop_bounding(uint64_t bounding)
{
	for (unsigned long capability = 0; capability < CAPABILITIES; capability++)
		if (!(bounding >> capability & 1) && rt_syscall(SYS_prctl, PR_CAPBSET_READ, capability, 0, 0, 0) == 1)
			rt_syscall(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
}

/* The dumpable flag belongs to the whole process, and the kernel clears it with any of this: in the stop,
 * so that the program never sees it so. */
static void take_over(const struct process_credentials *credentials)
{
	const struct rt_credentials *main = &credentials->main;
	long dumpable = rt_syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
	if (main->uid[1] == 0) /* what follows may need it */
		rt_syscall(SYS_setresuid, -1, 0, -1);
	if (groups_differ(credentials))
		rt_syscall(SYS_setgroups, credentials->group_count, credentials->groups);
	rt_syscall(SYS_setresgid, main->gid[0], main->gid[1], main->gid[2]);
	drop_bounding(credentials->bounding);
	rt_syscall(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
	rt_syscall(SYS_setresuid, main->uid[0], main->uid[1], main->uid[2]);
	rt_syscall(SYS_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
	rt_credentials_set_capabilities(main);
	if (dumpable >= 0 && dumpable != rt_syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0))
		rt_syscall(SYS_prctl, PR_SET_DUMPABLE, dumpable, 0, 0, 0);
}

static bool are_ours(const struct process_credentials *credentials)
{
	struct rt_credentials own;
	rt_credentials_read(&own);
	return memcmp(&own, &credentials->main, sizeof(own)) == 0 && !groups_differ(credentials);
}

int rt_credentials_prepare(struct engine *engine)
{
	if (engine->credentials == NULL)
		engine->credentials = rt_memory_map(sizeof(*engine->credentials));
	return engine->credentials == NULL ? -ENOMEM : 0;
}

int rt_credentials_follow(struct engine *engine)
{
	int result = read_status(engine);
	if (result == 0 && !are_ours(engine->credentials))
		take_over(engine->credentials);
	return result;
}

void rt_credentials_report(struct engine *engine)
{
	if (engine->credentials->seccomp != SECCOMP_FILTERS || engine->credentials->told_seccomp)
		return;
	engine->credentials->told_seccomp = true;
	rt_say("seccomp filters are in force: a restored process will run without them");
}

/* ---- the manifest ---- */

void rt_credentials_write(const struct engine *engine, struct manifest_process *process)
{
	const struct process_credentials *credentials = engine->credentials;
	const struct rt_thread *main = rt_thread_find(rt_root.pid);
	memcpy(process->uid, credentials->main.uid, sizeof(process->uid));
	memcpy(process->gid, credentials->main.gid, sizeof(process->gid));
	process->effective = credentials->main.effective;
	process->permitted = credentials->main.permitted;
	process->inheritable = credentials->main.inheritable;
	process->bounding = credentials->bounding;
	process->ambient = credentials->ambient;
	process->no_new_privs = credentials->no_new_privs;
	if (main != NULL) {
		process->secure_bits = main->secure_bits;
		process->parent_death_signal = main->parent_death_signal;
	}
}

void rt_credentials_write_groups(const struct engine *engine, struct manifest_writer *writer)
{
	const struct process_credentials *credentials = engine->credentials;
	if (credentials->group_count > 0)
		rt_manifest_add(writer, MANIFEST_GROUPS, credentials->groups,
				credentials->group_count * sizeof(credentials->groups[0]));
}
