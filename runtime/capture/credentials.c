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

#include "engine.h"
#include "memory.h"
#include "message.h"
#include "sys.h"
#include "thread.h"

#define MAX_GROUPS 1024
#define TEXT_SIZE (32 * 1024)
#define CAPABILITIES 64
#define SECCOMP_FILTERS 2 /* SECCOMP_MODE_FILTER */

struct process_credentials {
	struct rt_credentials main; /* the main thread's */
	uint64_t bounding, ambient;
	uint32_t groups[MAX_GROUPS];
	size_t group_count;
	uint64_t no_new_privs, seccomp;
	bool told_seccomp;
	char text[TEXT_SIZE];
};

/* ---- the text ---- */

/* What follows `key` at the start of a line; "" when there is no such line. */
static const char *find_field(const char *text, const char *key)
{
	size_t length = strlen(key);
	for (; text != NULL && *text != '\0'; text = strchr(text, '\n'), text = text ? text + 1 : NULL)
		if (strncmp(text, key, length) == 0)
			return text + length;
	return "";
}

static uint64_t take_number(const char **text, unsigned base)
{
	uint64_t value = 0;
	while (**text == ' ' || **text == '\t')
		(*text)++;
	for (;; (*text)++) {
		char c = **text;
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
		if (digit >= base)
			return value;
		value = value * base + digit;
	}
}

static uint64_t number_of(const char *text, const char *key, unsigned base)
{
	const char *at = find_field(text, key);
	return take_number(&at, base);
}

/* Real, effective, saved; the fourth is that of the file system and follows the effective one. */
static void three_of(const char *text, const char *key, uint32_t *ids)
{
	const char *at = find_field(text, key);
	for (int i = 0; i < 3; i++)
		ids[i] = (uint32_t)take_number(&at, 10);
}

static void groups_of(struct process_credentials *credentials)
{
	const char *at = find_field(credentials->text, "Groups:");
	credentials->group_count = 0;
	for (;;) {
		while (*at == ' ' || *at == '\t')
			at++;
		if (*at < '0' || *at > '9' || credentials->group_count == MAX_GROUPS)
			return;
		credentials->groups[credentials->group_count++] = (uint32_t)take_number(&at, 10);
	}
}

static int read_status(struct engine *engine)
{
	struct process_credentials *credentials = engine->credentials;
	size_t length = 0;
	ssize_t got = rt_sys_lseek(engine->status_fd, 0, SEEK_SET);
	if (got < 0)
		return (int)got;
	while ((got = rt_sys_read(engine->status_fd, credentials->text + length, TEXT_SIZE - 1 - length)) > 0)
		length += (size_t)got;
	if (got < 0)
		return (int)got;
	const char *text = credentials->text;
	credentials->text[length] = '\0';
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
