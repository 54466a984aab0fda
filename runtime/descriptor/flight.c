/*
 * Descriptors in flight: messages in unix sockets carry them (SCM_RIGHTS), and nobody has read those yet.
 *
 * Whoever looks at such a message gets duplicates in his table. In the program's they could not be closed
 * again: closing any descriptor of a file releases the POSIX locks that the process has on it. So when
 * the capture meets such a message it starts over in a thread with a copy of the table, of its own: it
 * walks all unix sockets, those that are themselves in flight too, gives each descriptor found an entry
 * above all others, and captures the entries as if they were the program's. Locks belong to a table, and
 * this one has none; before the program goes on it is empty.
 *
 * A program with nothing in flight pays nothing; one that has pays for the copy at each checkpoint.
 */
#include <limits.h>
#include <string.h>

#include "base/aside.h"
#include "base/memory.h"
#include "base/message.h"
#include "descriptor/table.h"

#define STACK_SIZE (128 * 1024)

/* What one socket holds, in flights.queues. */
struct flight_queue {
	uint64_t inode;
	size_t start, length;
	const char *reason; /* what is to be said of it */
	int result;
};

/* ---- the walk ---- */

int rt_descriptor_take_in_flight(struct descriptor_table *table, int fd)
{
	const struct descriptor *last = &table->entries[table->count - 1];
	int next = table->flights.first;
	if (table->count > table->flights.own)
		next = last->number + 1;
	int number = rt_sys_fcntl(fd, F_DUPFD_CLOEXEC, next);
	rt_sys_close(fd);
	if (number < 0)
		return number == -EINVAL ? -EMFILE : number;
	int result = rt_descriptor_add_in_flight(table, number);
	return result < 0 ? result : number;
}

/* Whether it is a unix socket that holds messages. */
static bool may_hold(const struct descriptor *descriptor)
{
	if (!S_ISSOCK(descriptor->mode) || (descriptor->flags & O_PATH) || descriptor->family != AF_UNIX ||
	    (descriptor->ready >= 0 && !(descriptor->ready & POLLIN)))
		return false;
	return descriptor->kind == DESCRIPTOR_PAIR || descriptor->kind == DESCRIPTOR_CONNECTION ||
	       (descriptor->kind == DESCRIPTOR_UNCONNECTED && descriptor->type == SOCK_DGRAM);
}

static struct flight_queue *find_queue(const struct descriptor_table *table, uint64_t inode)
{
	struct flight_queue *queues = (struct flight_queue *)(void *)table->flights.places.bytes;
	for (size_t i = 0; i < table->flights.place_count; i++)
		if (queues[i].inode == inode)
			return &queues[i];
	return NULL;
}

static int walk_one(struct descriptor_table *table, size_t index)
{
	struct flights *flights = &table->flights;
	if (rt_descriptor_reserve(&flights->places, (flights->place_count + 1) * sizeof(struct flight_queue)) < 0)
		return -ENOMEM;
	/* A copy: the entries may move while some are added. */
	struct descriptor descriptor = table->entries[index];
	struct flight_queue queue = {.inode = descriptor.inode, .start = flights->queues.length};
	descriptor.reason = NULL;
	queue.result = rt_descriptor_walk_unix(table, &descriptor, &flights->queues);
	queue.reason = descriptor.reason;
	if (queue.result == -EOPNOTSUPP)
		flights->queues.length = queue.start;
	queue.length = flights->queues.length - queue.start;
	((struct flight_queue *)(void *)flights->places.bytes)[flights->place_count++] = queue;
	return queue.result == -EOPNOTSUPP ? 0 : queue.result;
}

/* Those that are found on the way are walked in their turn. */
static int walk_all(struct descriptor_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct descriptor *descriptor = &table->entries[i];
		if (descriptor->in_flight && S_ISSOCK(descriptor->mode) && !(descriptor->flags & O_PATH))
			descriptor->ready = (int16_t)rt_sys_poll_now(descriptor->number, POLLIN);
		if (!may_hold(descriptor) || find_queue(table, descriptor->inode) != NULL)
			continue;
		int result = walk_one(table, i);
		if (result < 0)
			return result;
	}
	return table->flights.queues.failed ? -ENOMEM : 0;
}

int rt_descriptor_put_queue(struct descriptor_table *table, struct descriptor *descriptor,
			    struct manifest_writer *writer)
{
	const struct flight_queue *queue = find_queue(table, descriptor->inode);
	if (queue == NULL)
		return 0;
	descriptor->reason = queue->reason;
	rt_manifest_put(writer, table->flights.queues.bytes + queue->start, queue->length);
	return queue->result;
}

/* ---- the thread ---- */

/* From a directory of the process, which may be its main thread's or another thread's. */
static int open_own(const struct descriptor_table *table, int directory, const char *name)
{
	char path[64];
	(void)table;
	rt_format(path, sizeof(path), "../task/%d/%s", rt_sys_gettid(), name);
	int fd = rt_sys_openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (fd != -ENOENT)
		return fd;
	rt_format(path, sizeof(path), "../../%d/%s", rt_sys_gettid(), name);
	return rt_sys_openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

static void begin_flights(struct descriptor_table *table)
{
	struct flights *flights = &table->flights;
	int last = table->count > 0 ? table->entries[table->count - 1].number : 2;
	flights->own = table->count;
	flights->first = (last > 2 ? last : 2) + 1;
	flights->place_count = 0;
	flights->aside = true;
	flights->walked = false;
	rt_manifest_reset(&flights->queues);
}

/* The directories are moved out of the way of the numbers that follow the program's. */
static int open_directories(struct descriptor_table *table)
{
	struct flights *flights = &table->flights;
	flights->fd_dir = open_own(table, table->fd_dir, "fd");
	if (flights->fd_dir < 0)
		return flights->fd_dir;
	flights->fdinfo_dir = open_own(table, table->fdinfo_dir, "fdinfo");
	return flights->fdinfo_dir < 0 ? flights->fdinfo_dir : 0;
}

static int capture_with_flights(struct descriptor_table *table, struct manifest_writer *writer)
{
	int result = open_directories(table);
	if (result < 0)
		return result == -EMFILE || result == -ENFILE ? result : -ECANCELED;
	if ((result = walk_all(table)) < 0)
		return result;
	table->flights.walked = true;
	table->flights.expected = table->count > table->flights.own;
	if (table->flights.expected) {
		table->connections_stale = true;
		if ((result = rt_descriptor_share(table)) < 0 || (result = rt_descriptor_poll_sockets(table)) < 0)
			return result;
	}
	return rt_descriptor_put_all(table, writer);
}

struct flight_capture {
	struct descriptor_table *table;
	struct manifest_writer *writer;
	int result;
};

static void capture_alone(void *argument)
{
	struct flight_capture *capture = argument;
	capture->result = capture_with_flights(capture->table, capture->writer);
	/* Not left to the end of the thread, which comes later: a pipe whose last writer the program closes
	 * must not seem to have another. */
	rt_syscall(SYS_close_range, 0U, ~0U, 0U);
}

int rt_descriptor_capture_aside(struct descriptor_table *table, struct manifest_writer *writer)
{
	struct flights *flights = &table->flights;
	struct flight_capture capture = {.table = table, .writer = writer};
	struct rlimit before;
	if (flights->stack == NULL && (flights->stack = rt_memory_map(STACK_SIZE)) == NULL)
		return -ENOMEM;
	begin_flights(table);
	bool lifted = rt_descriptor_lift_limit(&before);
	int result = rt_run_aside(flights->stack, STACK_SIZE, RT_ASIDE_COPY, capture_alone, &capture);
	result = result < 0 ? -ECANCELED : capture.result;
	if (lifted)
		rt_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &before, NULL);
	flights->aside = flights->walked = false;
	if (result == -ECANCELED) {
		rt_descriptor_forget_in_flight(table);
		flights->refused = true;
		flights->expected = false;
	}
	return result;
}

void rt_descriptor_forget_in_flight(struct descriptor_table *table)
{
	struct flights *flights = &table->flights;
	if (flights->first == 0)
		return;
	if (table->count > flights->own) {
		table->count = flights->own;
		table->order_valid = false;
		table->connections_stale = true;
		table->pairs_stale = true;
	}
	flights->first = 0;
}
