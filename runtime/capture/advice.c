/*
 * What the program has asked for its memory: locked, left out of core dumps, not inherited ...
 *
 * The kernel shows that in /proc/self/smaps alone, which costs a walk over all pages. So it is read only
 * when a wrapper of the shim has seen a call that changes something (rt_advice_changed), and again
 * when there is something and the mappings have changed; before the stop.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/parse.h"
#include "base/sys.h"
#include "engine.h"

#define FIRST_ADVICE 256
#define LINE_SIZE 8192

/* VmFlags that are looked at, see proc(5). */
static const struct {
	char name[3];
	uint32_t flag;
} flags[] = {
	{"lo", ADVICE_LOCKED},     {"lf", ADVICE_LOCKED_ON_FAULT}, {"dc", ADVICE_DONTFORK},  {"wf", ADVICE_WIPEONFORK},
	{"dd", ADVICE_DONTDUMP},   {"mg", ADVICE_MERGEABLE},       {"hg", ADVICE_HUGEPAGE},  {"nh", ADVICE_NOHUGEPAGE},
	{"sr", ADVICE_SEQUENTIAL}, {"rr", ADVICE_RANDOM},          {"gd", ADVICE_GROWSDOWN},
};

static uint32_t changed; /* set by program threads */
static int future;       /* MCL_FUTURE and MCL_ONFAULT, as mlockall() was called; part of the image */

void rt_advice_changed(void)
{
	__atomic_store_n(&changed, 1, __ATOMIC_RELEASE);
}

void rt_advice_lock_future(int mlockall_flags)
{
	future = mlockall_flags;
	rt_advice_changed();
}

int rt_advice_locked_future(void)
{
	return future;
}

int rt_advice_add(struct advice_table *table, uint64_t start, uint64_t end, uint32_t advice)
{
	if (table->count == table->capacity) {
		size_t capacity = table->capacity ? 2 * table->capacity : FIRST_ADVICE;
		size_t bytes = capacity * sizeof(*table->entries);
		struct manifest_advice *grown =
			rt_memory_grow(table->entries, table->capacity * sizeof(*table->entries), bytes);
		if (grown == NULL)
			return -ENOMEM;
		table->entries = grown;
		table->capacity = capacity;
	}
	table->entries[table->count++] = (struct manifest_advice){.start = start, .end = end, .flags = advice};
	return 0;
}

/* ---- /proc/self/smaps ---- */

static uint32_t parse_flags(const char *text)
{
	uint32_t found = 0;
	for (; text[0] != '\0' && text[1] != '\0'; text++)
		for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
			if (text[0] == flags[i].name[0] && text[1] == flags[i].name[1] && text[-1] == ' ' &&
			    (text[2] == ' ' || text[2] == '\0'))
				found |= flags[i].flag;
	return found;
}

/* A mapping's first line is "start-end ...", its last one "VmFlags: rd wr ...". */
static int take_line(struct advice_table *table, const char *line, uint64_t *start, uint64_t *end)
{
	if (strncmp(line, "VmFlags:", 8) == 0) {
		uint32_t found = parse_flags(line + 9);
		return found != 0 ? rt_advice_add(table, *start, *end, found) : 0;
	}
	if ((line[0] < '0' || line[0] > '9') && (line[0] < 'a' || line[0] > 'f'))
		return 0;
	*start = rt_parse_hex(&line);
	line++;
	*end = rt_parse_hex(&line);
	return 0;
}

static int read_smaps(int fd, struct advice_table *table)
{
	char text[LINE_SIZE];
	size_t held = 0;
	uint64_t start = 0, end = 0;
	table->count = 0;
	if (rt_sys_lseek(fd, 0, SEEK_SET) < 0)
		return -EIO;
	for (;;) {
		ssize_t got = rt_sys_read(fd, text + held, sizeof(text) - held);
		if (got <= 0)
			return (int)got;
		held += (size_t)got;
		size_t line = 0;
		for (size_t i = 0; i < held; i++) {
			if (text[i] != '\n')
				continue;
			text[i] = '\0';
			int result = take_line(table, text + line, &start, &end);
			if (result < 0)
				return result;
			line = i + 1;
		}
		held -= line;
		memmove(text, text + line, held);
	}
}

int rt_capture_prepare_advice(struct engine *engine)
{
	bool asked = __atomic_exchange_n(&changed, 0, __ATOMIC_ACQ_REL) || !engine->advice_read;
	if (!asked && (engine->advice.count == 0 || rt_regions_equal(&engine->regions, &engine->captured_regions)))
		return 0;
	engine->advice_read = true;
	return engine->smaps_fd < 0 ? 0 : read_smaps(engine->smaps_fd, &engine->advice);
}

/* ---- in the stop ---- */

void rt_capture_mark_growing(struct engine *engine)
{
	for (size_t i = 0; i < engine->advice.count; i++) {
		const struct manifest_advice *advice = &engine->advice.entries[i];
		if ((advice->flags & ADVICE_GROWSDOWN) == 0)
			continue;
		/* It may have grown since, so its end is what tells it. */
		struct region *region = (struct region *)rt_region_find(&engine->regions, advice->end - 1);
		if (region != NULL && region->kind == REGION_ANONYMOUS)
			region->flags |= REGION_GROWSDOWN;
	}
}

/* What is mapped of [start, end) gets a record. */
static void write_one(const struct engine *engine, const struct manifest_advice *advice, struct manifest_writer *writer)
{
	const struct region *last = engine->regions.entries + engine->regions.count;
	uint64_t at = advice->start;
	for (const struct region *region = rt_region_find_from(&engine->regions, at);
	     region < last && region->start < advice->end; region++) {
		struct manifest_advice record = {
			.start = region->start > at ? region->start : at,
			.end = region->end < advice->end ? region->end : advice->end,
			.flags = advice->flags,
		};
		if (region->kind != REGION_SPECIAL)
			rt_manifest_add(writer, MANIFEST_ADVICE, &record, sizeof(record));
	}
}

void rt_capture_write_advice(const struct engine *engine, struct manifest_writer *writer)
{
	for (size_t i = 0; i < engine->advice.count; i++)
		if (engine->advice.entries[i].flags & ~(uint32_t)ADVICE_GROWSDOWN)
			write_one(engine, &engine->advice.entries[i], writer);
	for (size_t i = 0; i < engine->guards.count; i++)
		rt_manifest_add(writer, MANIFEST_ADVICE, &engine->guards.entries[i], sizeof(engine->guards.entries[i]));
}
