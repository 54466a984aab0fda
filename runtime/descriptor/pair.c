/*
 * Which sockets were made together by socketpair(): the kernel has no question for it.
 *
 * Program threads note pairs in a ring that belongs to the image. After a restore the sockets
 * are new ones, with new inodes under the old numbers; so prepare writes the numbers next to the
 * inodes, and the restored process looks the inodes up again.
 */
#include <string.h>

#include "descriptor/table.h"

#define SLOTS 1024 /* pairs remembered; the oldest is overwritten */

struct pair {
	uint64_t inode[2]; /* inode[0] is written last and cleared first: 0 means the slot is empty */
	int32_t number[2]; /* one more than a descriptor of each end; 0: not known */
};

/* In the image: rt_descriptors_note_pair() is called by program threads. */
static struct pair pairs[SLOTS];
static uint32_t noted; /* pairs ever noted; the next goes to pairs[noted % SLOTS] */

static void note(const uint64_t inode[2], const int32_t number[2])
{
	struct pair *pair = &pairs[__atomic_fetch_add(&noted, 1, __ATOMIC_ACQ_REL) % SLOTS];
	__atomic_store_n(&pair->inode[0], 0, __ATOMIC_RELEASE);
	__atomic_store_n(&pair->inode[1], inode[1], __ATOMIC_RELAXED);
	pair->number[0] = number[0];
	pair->number[1] = number[1];
	__atomic_store_n(&pair->inode[0], inode[0], __ATOMIC_RELEASE);
}

void rt_descriptors_note_pair(uint64_t inode_a, uint64_t inode_b)
{
	static const int32_t unknown[2];
	const uint64_t inode[2] = {inode_a, inode_b};
	note(inode, unknown);
}

uint32_t rt_descriptor_pair_generation(void)
{
	return __atomic_load_n(&noted, __ATOMIC_ACQUIRE);
}

uint64_t rt_descriptor_pair_of(uint64_t inode)
{
	uint32_t end = rt_descriptor_pair_generation();
	for (uint32_t age = 1; age <= end && age <= SLOTS; age++) {
		const struct pair *pair = &pairs[(end - age) % SLOTS];
		uint64_t first = __atomic_load_n(&pair->inode[0], __ATOMIC_ACQUIRE);
		uint64_t second = __atomic_load_n(&pair->inode[1], __ATOMIC_RELAXED);
		if (first == 0)
			continue;
		if (first == inode)
			return second;
		if (second == inode)
			return first;
	}
	return 0;
}

static int32_t number_of(struct descriptor_table *table, uint64_t inode, bool *open)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct descriptor *descriptor = &table->entries[i];
		if (descriptor->kind == DESCRIPTOR_PAIR && descriptor->inode == inode) {
			*open = true;
			return descriptor->number + 1;
		}
	}
	return 0;
}

/* Written only on a change: each write makes a page of the image dirty. */
static void set_numbers(struct pair *pair, const int32_t number[2])
{
	if (memcmp(pair->number, number, sizeof(pair->number)) != 0)
		memcpy(pair->number, number, sizeof(pair->number));
}

void rt_descriptor_pairs_number(struct descriptor_table *table)
{
	uint32_t end = rt_descriptor_pair_generation();
	for (uint32_t age = end < SLOTS ? end : SLOTS; age >= 1; age--) {
		struct pair *pair = &pairs[(end - age) % SLOTS];
		const uint64_t inode[2] = {pair->inode[0], pair->inode[1]};
		if (inode[0] == 0)
			continue;
		bool open = false;
		const int32_t number[2] = {number_of(table, inode[0], &open), number_of(table, inode[1], &open)};
		set_numbers(pair, number);
		/* One that is still in use is noted again before the ring comes round to it. */
		if (open && age > SLOTS / 2)
			note(inode, number);
	}
	table->pairs_stale = false;
}

/* The inode of a unix socket; `number` is one more than the descriptor. 0: it is none. */
static uint64_t socket_inode(int32_t number)
{
	struct stat status;
	int family = 0;
	socklen_t length = sizeof(family);
	if (number <= 0 || rt_sys_fstat(number - 1, &status) < 0 ||
	    rt_sys_getsockopt(number - 1, SOL_SOCKET, SO_DOMAIN, &family, &length) < 0 || family != AF_UNIX)
		return 0;
	return status.st_ino;
}

/* The inode of an end that has no number: it may be in flight. One that is closed gets an inode that
 * no socket has: the other is still half a pair. */
static uint64_t inode_of_other(struct descriptor_table *table, uint64_t inode)
{
	uint64_t other = rt_descriptor_peer_of(table, inode);
	return other != 0 ? other : UINT64_MAX;
}

void rt_descriptor_pairs_relearn(struct descriptor_table *table)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct pair *pair = &pairs[i];
		if (pair->inode[0] == 0)
			continue;
		uint64_t first = socket_inode(pair->number[0]), second = socket_inode(pair->number[1]);
		if (first == 0 && second == 0)
			continue;
		pair->inode[0] = first ? first : inode_of_other(table, second);
		pair->inode[1] = second ? second : inode_of_other(table, first);
	}
}
