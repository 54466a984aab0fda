/*
 * The table of open descriptors: what is open, and what each is.
 *
 * prepare and capture bring the table up to date the same way: every known descriptor is
 * validated, the directory is walked when the number of open descriptors does not add up, what
 * is new is recognised. Prepare merely leaves little to do for capture. Only capture opens
 * anything: a number that is taken for an instant could be missed by a running program thread.
 */
#include "descriptor/descriptor.h"

#include <string.h>

#include "base/memory.h"
#include "base/message.h"
#include "descriptor/table.h"

#define DIRECTORY_BUFFER (32 * 1024)

struct directory_entry {
	uint64_t inode;
	int64_t next;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* ---- memory ---- */

int rt_descriptor_reserve(struct descriptor_block *block, size_t bytes)
{
	if (bytes <= block->capacity)
		return 0;
	size_t capacity = block->capacity ? block->capacity : RT_PAGE_SIZE;
	while (capacity < bytes)
		capacity *= 2;
	char *grown = block->bytes ? rt_memory_grow(block->bytes, block->capacity, capacity) : rt_memory_map(capacity);
	if (grown == NULL)
		return -ENOMEM;
	block->bytes = grown;
	block->capacity = capacity;
	return 0;
}

struct descriptor_table *rt_descriptors_open(int fd_dir, int fdinfo_dir, bool (*hidden)(int fd))
{
	struct descriptor_table *table = rt_memory_map(sizeof(*table));
	if (table == NULL || rt_descriptor_reserve(&table->text, DIRECTORY_BUFFER) < 0)
		return NULL;
	rt_descriptors_set_directories(table, fd_dir, fdinfo_dir);
	table->hidden = hidden;
	rt_descriptor_pairs_relearn(table);
	rt_descriptor_memberships_relearn();
	return table;
}

void rt_descriptors_set_directories(struct descriptor_table *table, int fd_dir, int fdinfo_dir)
{
	table->fd_dir = fd_dir;
	table->fdinfo_dir = fdinfo_dir;
}

/* ---- what is open ---- */

/* Fills what fstat and fcntl tell. False when the descriptor is not open (any more). */
static bool validate(struct descriptor *descriptor)
{
	struct stat status;
	int flags = rt_sys_fcntl(descriptor->number, F_GETFL, 0);
	int close_on_exec = rt_sys_fcntl(descriptor->number, F_GETFD, 0);
	if (flags < 0 || close_on_exec < 0 || rt_sys_fstat(descriptor->number, &status) < 0)
		return false;
	int64_t changed_ns = status.st_ctim.tv_sec * 1000000000L + status.st_ctim.tv_nsec;
	if (status.st_dev != descriptor->device || status.st_ino != descriptor->inode ||
	    status.st_mode != descriptor->mode || status.st_rdev != descriptor->device_number ||
	    ((uint32_t)flags ^ descriptor->flags) & (O_ACCMODE | O_PATH)) {
		descriptor->fresh = true;
		descriptor->synced_ns = 0;
	}
	if (changed_ns != descriptor->changed_ns || status.st_nlink != descriptor->links)
		descriptor->name_stale = true;
	descriptor->flags = (uint32_t)flags;
	descriptor->close_on_exec = (close_on_exec & FD_CLOEXEC) != 0;
	descriptor->device = status.st_dev;
	descriptor->inode = status.st_ino;
	descriptor->mode = status.st_mode;
	descriptor->links = (uint32_t)status.st_nlink;
	descriptor->device_number = status.st_rdev;
	descriptor->size = (uint64_t)status.st_size;
	descriptor->changed_ns = changed_ns;
	return true;
}

static void validate_known(struct descriptor_table *table)
{
	size_t kept = 0;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (table->hidden(descriptor->number) || !validate(descriptor))
			continue;
		if (descriptor->fresh)
			table->order_valid = false;
		if (kept != i)
			table->entries[kept] = *descriptor;
		kept++;
	}
	if (kept != table->count) {
		table->order_valid = false;
		table->connections_stale = true;
	}
	table->count = kept;
}

/* The directory's size is the number of open descriptors since Linux 6.2, 0 before: when it is
 * as many as are known, and those are open, nothing else is. */
static bool know_all(const struct descriptor_table *table)
{
	struct stat status;
	if (rt_sys_fstat(table->fd_dir, &status) < 0 || status.st_size == 0 ||
	    (size_t)status.st_size != table->count + table->hidden_count)
		return false;
	for (size_t i = 0; i < table->hidden_count; i++)
		if (!table->hidden(table->hidden_numbers[i]) || rt_sys_fcntl(table->hidden_numbers[i], F_GETFD, 0) < 0)
			return false;
	return true;
}

static int parse_number(const char *text)
{
	int number = 0;
	if (*text < '0' || *text > '9')
		return -1;
	for (; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (*text - '0');
	return number;
}

/*
 * Once the main thread has exited, a directory opened by way of /proc/self shows nothing: it is
 * that thread's. The checkpoint thread's own takes its place, under the same number. This takes a
 * low number for an instant, once.
 */
static int reopen(int directory, const char *name)
{
	char path[64];
	rt_format(path, sizeof(path), "/proc/self/task/%d/%s", rt_sys_gettid(), name);
	int fd = rt_descriptor_open_file(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	int result = (int)rt_syscall(SYS_dup3, fd, directory, O_CLOEXEC);
	rt_sys_close(fd);
	return result < 0 ? result : 0;
}

/* State of one walk: the old entries are merged with the numbers found, both ascending. */
struct walk {
	struct descriptor_table *table;
	struct descriptor_block *merged; /* the entries that are to be */
	size_t count;                    /* of entries in `merged` */
	size_t old;                      /* next of the old entries */
	size_t hidden_count;
};

static int add_hidden(struct walk *walk, int number)
{
	struct descriptor_table *table = walk->table;
	if (rt_descriptor_reserve(&table->hidden_block, (walk->hidden_count + 1) * sizeof(int)) < 0)
		return -ENOMEM;
	table->hidden_numbers = (int *)(void *)table->hidden_block.bytes;
	table->hidden_numbers[walk->hidden_count++] = number;
	return 0;
}

static int add_number(struct walk *walk, int number)
{
	struct descriptor_table *table = walk->table;
	if (table->hidden(number))
		return add_hidden(walk, number);
	if (rt_descriptor_reserve(walk->merged, (walk->count + 1) * sizeof(struct descriptor)) < 0)
		return -ENOMEM;
	struct descriptor *descriptor = (struct descriptor *)(void *)walk->merged->bytes + walk->count;
	while (walk->old < table->count && table->entries[walk->old].number < number)
		walk->old++;
	if (walk->old < table->count && table->entries[walk->old].number == number) {
		*descriptor = table->entries[walk->old++];
		walk->count++;
		return 0;
	}
	memset(descriptor, 0, sizeof(*descriptor));
	descriptor->number = number;
	descriptor->fresh = true;
	if (validate(descriptor))
		walk->count++;
	return 0;
}

static int walk_directory(struct walk *walk)
{
	struct descriptor_table *table = walk->table;
	off_t start = rt_sys_lseek(table->fd_dir, 0, SEEK_SET);
	if (start < 0)
		return (int)start;
	for (;;) {
		int length = rt_sys_getdents(table->fd_dir, table->text.bytes, DIRECTORY_BUFFER);
		if (length <= 0)
			return length;
		for (int at = 0; at < length;) {
			struct directory_entry *entry = (void *)(table->text.bytes + at);
			int number = parse_number(entry->name);
			int result = number < 0 ? 0 : add_number(walk, number);
			if (result < 0)
				return result;
			at += entry->length;
		}
	}
}

/* The directory's own descriptor is open, so a walk that has not met it has met nothing. */
static bool saw_itself(const struct walk *walk)
{
	for (size_t i = 0; i < walk->hidden_count; i++)
		if (walk->table->hidden_numbers[i] == walk->table->fd_dir)
			return true;
	return false;
}

static int find_new(struct descriptor_table *table)
{
	struct walk walk = {.table = table, .merged = &table->entry_blocks[!table->entry_block]};
	const struct walk start = walk;
	int result = walk_directory(&walk);
	if (result == 0 && !saw_itself(&walk)) {
		if ((result = reopen(table->fd_dir, "fd")) < 0 || (result = reopen(table->fdinfo_dir, "fdinfo")) < 0)
			return result;
		walk = start;
		result = walk_directory(&walk);
	}
	if (result < 0)
		return result;
	if (!saw_itself(&walk))
		return -ESRCH;
	table->entry_block = !table->entry_block;
	table->entries = (struct descriptor *)(void *)walk.merged->bytes;
	table->count = walk.count;
	table->hidden_count = walk.hidden_count;
	table->order_valid = false;
	return 0;
}

struct descriptor *rt_descriptor_find(struct descriptor_table *table, int number)
{
	size_t low = 0, high = table->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (table->entries[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < table->count && table->entries[low].number == number ? &table->entries[low] : NULL;
}

/* ---- what each is ---- */

void rt_descriptor_recognise(struct descriptor_table *table, struct descriptor *descriptor)
{
	uint32_t before = descriptor->kind, settings = descriptor->connecting ? descriptor->settings : 0;
	/* Another object under the same number, or one whose addresses were not complete. */
	bool other = descriptor->fresh || descriptor->connecting;
	descriptor->reason = NULL;
	if (descriptor->fresh)
		descriptor->name_length = 0;
	if (other) {
		descriptor->settings = 0;
		descriptor->peer_known = false;
		descriptor->peer_inode = 0;
		descriptor->waiting = false;
		descriptor->connecting = false;
	}
	if (S_ISSOCK(descriptor->mode) && !(descriptor->flags & O_PATH))
		rt_descriptor_recognise_socket(table, descriptor);
	else if ((descriptor->mode & S_IFMT) == 0)
		rt_descriptor_recognise_event(table, descriptor);
	else
		rt_descriptor_recognise_file(table, descriptor);
	if (!descriptor->fresh && descriptor->connecting)
		descriptor->settings = settings; /* still on its way to where it was */
	if (other || descriptor->kind != before)
		table->connections_stale = true;
	descriptor->fresh = false;
	descriptor->name_stale = false;
}

/* Whether recognising again could give something else, although fstat shows the same object. */
static bool may_have_changed(const struct descriptor *descriptor, bool pairs_changed, bool stopped)
{
	switch (descriptor->kind) {
	case DESCRIPTOR_LISTENING:
	case DESCRIPTOR_UNCONNECTED: return true;
	case DESCRIPTOR_CONNECTION: /* hung up: TCP that was disconnected is a socket like a new one */
		if (descriptor->family == AF_UNIX)
			return pairs_changed;
		return descriptor->connecting || (stopped && (descriptor->ready & POLLHUP));
	case DESCRIPTOR_LOST: return !S_ISSOCK(descriptor->mode);
	case DESCRIPTOR_REGULAR:
	case DESCRIPTOR_DELETED:
	case DESCRIPTOR_DIRECTORY:
	case DESCRIPTOR_DEVICE:
	case DESCRIPTOR_FIFO:
	case DESCRIPTOR_PATH: return descriptor->name_stale;
	default: return false;
	}
}

static int refresh(struct descriptor_table *table, bool stopped)
{
	int result = 0;
	validate_known(table);
	rt_descriptor_refresh_renamed(table);
	if (!know_all(table))
		result = find_new(table);
	if (result == 0 && stopped)
		result = rt_descriptor_poll_sockets(table);
	if (result < 0)
		return result;
	uint32_t generation = rt_descriptor_pair_generation();
	bool pairs_changed = generation != table->pair_generation;
	table->pair_generation = generation;
	table->pairs_stale |= pairs_changed;
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->fresh || may_have_changed(descriptor, pairs_changed, stopped))
			rt_descriptor_recognise(table, descriptor);
	}
	return rt_descriptor_share(table);
}

int rt_descriptor_add_in_flight(struct descriptor_table *table, int number)
{
	struct descriptor_block *block = &table->entry_blocks[table->entry_block];
	if (rt_descriptor_reserve(block, (table->count + 1) * sizeof(struct descriptor)) < 0)
		return -ENOMEM;
	table->entries = (struct descriptor *)(void *)block->bytes;
	struct descriptor *descriptor = &table->entries[table->count];
	*descriptor = (struct descriptor){.number = number, .fresh = true, .in_flight = true};
	if (!validate(descriptor))
		return -EBADF;
	table->count++;
	table->order_valid = false;
	rt_descriptor_recognise(table, descriptor);
	return 0;
}

int rt_descriptors_prepare(struct descriptor_table *table)
{
	rt_descriptor_forget_in_flight(table);
	int result = rt_descriptor_compact_names(table);
	if (result < 0)
		return result;
	rt_descriptor_refresh_some_names(table);
	result = refresh(table, false);
	if (result == 0 && table->pairs_stale)
		rt_descriptor_pairs_number(table);
	return result < 0 ? result : rt_descriptor_gather_sockets(table);
}

/* Most programs never have a descriptor in flight; those that do, often have. */
int rt_descriptors_capture(struct descriptor_table *table, struct manifest_writer *writer)
{
	size_t start = writer->length;
	rt_descriptor_forget_in_flight(table);
	int result = refresh(table, true);
	if (result < 0)
		return result;
	if (!table->flights.expected && (result = rt_descriptor_put_all(table, writer)) != -ECANCELED)
		return result;
	writer->length = start;
	result = rt_descriptor_capture_aside(table, writer);
	if (result != -ECANCELED)
		return result;
	writer->length = start;
	return rt_descriptor_put_all(table, writer);
}

/* ---- the report ---- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 0x100000001b3UL; /* FNV-1a */
	return hash;
}

/* By what is said and not by number: a program that opens one thing again and again hears of it once. */
static bool said_before(struct descriptor_table *table, const char *name, const char *reason)
{
	uint64_t hash = hash_text(hash_text(0xcbf29ce484222325UL, name), reason);
	for (size_t i = 0; i < table->said_count; i++)
		if (table->said[i] == hash)
			return true;
	if (table->said_count == DESCRIPTOR_SAID)
		return true;
	table->said[table->said_count++] = hash;
	return false;
}

void rt_descriptors_report(struct descriptor_table *table)
{
	if (rt_descriptor_memberships_missed() && !table->said_membership) {
		table->said_membership = true;
		rt_say("a socket has joined a multicast group on an interface that cannot be told, or one of too "
		       "many: a restored one will not be in it");
	}
	for (size_t i = 0; i < table->count; i++) {
		const struct descriptor *descriptor = &table->entries[i];
		const char *name = rt_descriptor_name(table, descriptor);
		if (descriptor->reason == NULL || descriptor->shared_with >= 0 ||
		    said_before(table, name, descriptor->reason))
			continue;
		if (descriptor->in_flight)
			rt_say("a descriptor in an unread message (%s) %s", *name ? name : "socket",
			       descriptor->reason);
		else
			rt_say("descriptor %d (%s) %s", descriptor->number, *name ? name : "socket",
			       descriptor->reason);
		if (table->said_count == DESCRIPTOR_SAID)
			rt_say("no more descriptors of this kind are named");
	}
	rt_descriptor_forget_in_flight(table);
}
