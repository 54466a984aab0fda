/*
 * Which descriptors share one open file description (dup, 2>&1).
 *
 * Only descriptors of one inode can. kcmp() tells, and orders the ones that differ, so a group
 * is sorted rather than compared pair by pair; while nothing changes, comparing neighbours with
 * what they were is enough. A socket's inode has just one open file description.
 */
#include <linux/kcmp.h>
#include <string.h>

#include "descriptor/table.h"

enum relation {
	RELATION_OTHER = 0, /* different inodes */
	RELATION_SAME = 1,  /* one open file description */
	RELATION_LESS = 2,  /* one inode; the first comes before the second */
	RELATION_GREATER = 3,
};

static enum relation by_value(int64_t a, int64_t b)
{
	return a < b ? RELATION_LESS : a > b ? RELATION_GREATER : RELATION_SAME;
}

/* Where kcmp() is filtered (some containers): equal flags and offset of a file, terminal or pipe.
 * Objects that carry state of their own behind one anonymous inode are taken to be different. */
static enum relation guess(const struct descriptor *a, const struct descriptor *b)
{
	enum relation relation = by_value(a->flags, b->flags);
	if ((a->mode & S_IFMT) == 0)
		return by_value(a->number, b->number);
	if (relation == RELATION_SAME && (S_ISREG(a->mode) || S_ISDIR(a->mode) || S_ISBLK(a->mode)))
		relation = by_value(rt_sys_lseek(a->number, 0, SEEK_CUR), rt_sys_lseek(b->number, 0, SEEK_CUR));
	return relation;
}

static enum relation compare_description(struct descriptor_table *table, const struct descriptor *a,
					 const struct descriptor *b)
{
	if (S_ISSOCK(a->mode) && !((a->flags | b->flags) & O_PATH))
		return RELATION_SAME;
	if (table->no_kcmp)
		return guess(a, b);
	/* The thread's number, not the process's: the main thread may have exited. */
	int self = rt_sys_gettid();
	switch (rt_syscall(SYS_kcmp, self, self, KCMP_FILE, a->number, b->number)) {
	case 0: return RELATION_SAME;
	case 1: return RELATION_LESS;
	case 2: return RELATION_GREATER;
	case -EBADF: /* closed meanwhile: the stop will see it */ return by_value(a->number, b->number);
	default: table->no_kcmp = true; return guess(a, b);
	}
}

static enum relation relate(struct descriptor_table *table, uint32_t first, uint32_t second)
{
	const struct descriptor *a = &table->entries[first], *b = &table->entries[second];
	if (a->device != b->device || a->inode != b->inode)
		return RELATION_OTHER;
	return compare_description(table, a, b);
}

/* Whether `first` is to stand before `second`; within one open file description by number. */
static bool precedes(struct descriptor_table *table, uint32_t first, uint32_t second)
{
	const struct descriptor *a = &table->entries[first], *b = &table->entries[second];
	if (a->device != b->device)
		return a->device < b->device;
	if (a->inode != b->inode)
		return a->inode < b->inode;
	enum relation relation = compare_description(table, a, b);
	return relation == RELATION_SAME ? first < second : relation == RELATION_LESS;
}

static void merge(struct descriptor_table *table, uint32_t *to, const uint32_t *from, size_t start, size_t middle,
		  size_t end)
{
	size_t left = start, right = middle;
	for (size_t i = start; i < end; i++) {
		bool take_right = left == middle || (right < end && precedes(table, from[right], from[left]));
		to[i] = take_right ? from[right++] : from[left++];
	}
}

static void sort(struct descriptor_table *table)
{
	uint32_t *from = (uint32_t *)(void *)table->order_block.bytes;
	uint32_t *to = (uint32_t *)(void *)table->order_scratch.bytes;
	for (size_t i = 0; i < table->count; i++)
		from[i] = (uint32_t)i;
	for (size_t width = 1; width < table->count; width *= 2) {
		for (size_t start = 0; start < table->count; start += 2 * width) {
			size_t middle = start + width < table->count ? start + width : table->count;
			size_t end = middle + width < table->count ? middle + width : table->count;
			merge(table, to, from, start, middle, end);
		}
		uint32_t *swap = from;
		from = to;
		to = swap;
	}
	table->order = from;
	for (size_t i = 0; i + 1 < table->count; i++)
		table->relation[i] = (uint8_t)relate(table, from[i], from[i + 1]);
}

static bool relations_hold(struct descriptor_table *table)
{
	for (size_t i = 0; i + 1 < table->count; i++)
		if (table->relation[i] != RELATION_OTHER &&
		    table->relation[i] != relate(table, table->order[i], table->order[i + 1]))
			return false;
	return true;
}

static void set_shared(struct descriptor_table *table)
{
	int first = -1;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[table->order[i]];
		bool shared = i > 0 && table->relation[i - 1] == RELATION_SAME;
		if (!shared)
			first = descriptor->number;
		descriptor->shared_with = shared ? first : -1;
	}
}

int rt_descriptor_share(struct descriptor_table *table)
{
	size_t count = table->count + 1;
	if (rt_descriptor_reserve(&table->order_block, count * sizeof(uint32_t)) < 0 ||
	    rt_descriptor_reserve(&table->order_scratch, count * sizeof(uint32_t)) < 0 ||
	    rt_descriptor_reserve(&table->relation_block, count) < 0)
		return -ENOMEM;
	if (table->order_valid && relations_hold(table))
		return 0;
	table->relation = (uint8_t *)(void *)table->relation_block.bytes;
	sort(table);
	set_shared(table);
	table->order_valid = true;
	table->pairs_stale = true;
	return 0;
}

size_t rt_descriptor_same_inode(const struct descriptor_table *table, uint64_t device, uint64_t inode, size_t *first)
{
	size_t low = 0, high = table->count, end;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct descriptor *entry = &table->entries[table->order[middle]];
		if (entry->device < device || (entry->device == device && entry->inode < inode))
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < table->count; end++) {
		const struct descriptor *entry = &table->entries[table->order[end]];
		if (entry->device != device || entry->inode != inode)
			break;
	}
	*first = low;
	return end - low;
}
