/* The phases of bringing descriptors back, and what their files share; see private.h. */
#include "restore/descriptors/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "restore/descriptors/private.h"

#define NS_PER_S 1000000000L

/* The kernel lets the addresses of a connection that has ended be used again after a second
 * (net.ipv4.tcp_tw_reuse_delay). */
#define PATIENCE_NS (3 * NS_PER_S / 2)

#define SETTABLE_FLAGS (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)

static int open_lost(struct restoration *restoration, struct entry *entry)
{
	return restore_lose(restoration, entry, "it could not be captured");
}

/* Per kind: how it is made, what of it changes something outside the process, what needs the others. */
static const struct {
	restore_step *open;
	restore_step *commit;  /* NULL: nothing */
	restore_step *connect; /* NULL: nothing */
} kinds[DESCRIPTOR_KINDS] = {
	[DESCRIPTOR_LOST] = {.open = open_lost},
	[DESCRIPTOR_REGULAR] = {.open = restore_open_regular, .commit = restore_commit_regular},
	[DESCRIPTOR_DELETED] = {.open = restore_open_deleted},
	[DESCRIPTOR_DIRECTORY] = {.open = restore_open_directory},
	[DESCRIPTOR_DEVICE] = {.open = restore_open_device},
	[DESCRIPTOR_TERMINAL] = {.open = restore_open_terminal, .commit = restore_commit_terminal},
	[DESCRIPTOR_PATH] = {.open = restore_open_path},
	[DESCRIPTOR_PIPE] = {.open = restore_open_pipe},
	[DESCRIPTOR_FIFO] = {.open = restore_open_pipe, .commit = restore_commit_fifo},
	[DESCRIPTOR_EVENTFD] = {.open = restore_open_eventfd},
	[DESCRIPTOR_TIMERFD] = {.open = restore_open_timerfd},
	[DESCRIPTOR_SIGNALFD] = {.open = restore_open_signalfd},
	[DESCRIPTOR_INOTIFY] = {.open = restore_open_inotify},
	[DESCRIPTOR_EPOLL] = {.open = restore_open_epoll},
	[DESCRIPTOR_LISTENING] = {restore_open_socket, restore_commit_socket, restore_connect_socket},
	[DESCRIPTOR_UNCONNECTED] = {restore_open_socket, restore_commit_socket, restore_connect_socket},
	[DESCRIPTOR_PAIR] = {.open = restore_open_pair},
	[DESCRIPTOR_CONNECTION] = {.open = restore_open_connection, .connect = restore_connect_connection},
	[DESCRIPTOR_MASTER] = {.open = restore_open_master},
	[DESCRIPTOR_PIDFD] = {.open = restore_open_pidfd},
	[DESCRIPTOR_QUEUE] = {.open = restore_open_queue},
};

/* ---- messages ---- */

int restore_refuse(struct restoration *restoration, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(restoration->problem, restoration->problem_size, format, arguments);
	va_end(arguments);
	return -1;
}

void restore_warn(const struct restoration *restoration, const char *format, ...)
{
	char text[PATH_MAX + 256];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	dprintf(restoration->own[2], "respct-restore: %s\n", text);
}

/* ---- descriptors at temporary numbers ---- */

int restore_move_up(const struct restoration *restoration, int fd)
{
	if (fd < 0)
		return -1;
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, restoration->base);
	int error = errno;
	close(fd);
	errno = moved < 0 && error == EINVAL ? EMFILE : error; /* EINVAL: `base` is beyond the limit */
	return moved;
}

/* O_PATH: read, write, poll and the rest give EBADF, close and dup work. */
int restore_lose(struct restoration *restoration, struct entry *entry, const char *reason)
{
	entry->temporary = restore_move_up(restoration, open("/dev/null", O_PATH | O_CLOEXEC));
	if (entry->temporary < 0)
		return restore_refuse(restoration, "cannot make descriptor %d: %s", entry->record.number,
				      strerror(errno));
	entry->lost = true;
	if (entry->record.in_flight)
		restore_warn(restoration, "a descriptor in an unread message (%s) is not restored: %s",
			     *entry->name ? entry->name : "socket", reason);
	else
		restore_warn(restoration, "descriptor %d (%s) is not restored: %s", entry->record.number,
			     *entry->name ? entry->name : "socket", reason);
	return 0;
}

int restore_reopen(int fd, int flags)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC | O_NOCTTY);
}

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

bool restore_be_patient(struct restoration *restoration, int error)
{
	const struct timespec moment = {.tv_nsec = 20000000};
	int kept = errno;
	if (error != EADDRINUSE && error != EADDRNOTAVAIL && error != EWOULDBLOCK)
		return false;
	if (restoration->patience_ns == 0)
		restoration->patience_ns = now_ns() + PATIENCE_NS;
	nanosleep(&moment, NULL);
	errno = kept;
	return now_ns() < restoration->patience_ns;
}

struct entry *restore_find(struct restoration *restoration, int number)
{
	size_t low = 0, high = restoration->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (restoration->entries[middle].record.number < number)
			low = middle + 1;
		else
			high = middle;
	}
	bool found = low < restoration->count && restoration->entries[low].record.number == number;
	return found ? &restoration->entries[low] : NULL;
}

/* ---- phases ---- */

/* The highest number of the program's, at least 2. */
static int highest_number(const struct restoration *restoration)
{
	size_t count = restoration->count;
	while (count > 0 && restoration->entries[count - 1].record.in_flight)
		count--;
	return count > 0 && restoration->entries[count - 1].record.number > 2
		       ? restoration->entries[count - 1].record.number
		       : 2;
}

/* Temporary numbers: above the program's; the soft limit is lifted for as long as they are used. */
static int prepare_numbers(struct restoration *restoration, struct rlimit *before)
{
	restoration->base = highest_number(restoration) + 1;
	if (getrlimit(RLIMIT_NOFILE, before) < 0)
		return restore_refuse(restoration, "cannot read the limit of open files: %s", strerror(errno));
	struct rlimit lifted = {.rlim_cur = before->rlim_max, .rlim_max = before->rlim_max};
	setrlimit(RLIMIT_NOFILE, &lifted);
	for (int i = 0; i < 3; i++) {
		/* A closed one counts as /dev/null. */
		int copy = fcntl(i, F_DUPFD_CLOEXEC, restoration->base);
		if (copy < 0 && errno == EBADF)
			copy = restore_move_up(restoration, open("/dev/null", O_RDWR | O_CLOEXEC));
		restoration->own[i] = copy;
		if (copy < 0)
			return restore_refuse(restoration,
					      "no descriptors to spare: raise the limit of open files (ulimit -n)");
	}
	return 0;
}

static bool shares_another(struct restoration *restoration, const struct entry *entry)
{
	return entry->record.shared_with >= 0 && !restore_is_stand_in(restoration, entry);
}

const struct entry *restore_source(struct restoration *restoration, const struct entry *entry)
{
	return shares_another(restoration, entry) ? restore_find(restoration, entry->record.shared_with) : entry;
}

const struct entry *restore_same_object(const struct restoration *restoration, const struct entry *entry)
{
	for (const struct entry *other = restoration->entries; other < entry; other++)
		if (other->record.kind == entry->record.kind && other->temporary >= 0 && !other->lost &&
		    other->record.inode == entry->record.inode && other->record.device == entry->record.device)
			return other;
	return NULL;
}

static int open_one(struct restoration *restoration, struct entry *entry)
{
	if (restore_is_stand_in(restoration, entry))
		return restore_stand_in(restoration, entry, entry->record.number);
	return kinds[entry->record.kind].open(restoration, entry);
}

static int open_kinds(struct restoration *restoration, bool connections)
{
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		/* The other half of a pair may have made this one already. */
		if (shares_another(restoration, entry) || entry->temporary >= 0 ||
		    (entry->record.kind == DESCRIPTOR_CONNECTION) != connections)
			continue;
		if (open_one(restoration, entry) < 0)
			return -1;
	}
	return 0;
}

/* Connections come first: our listening sockets are at addresses where the program's are to be bound. */
static int open_all(struct restoration *restoration)
{
	int result = open_kinds(restoration, true);
	restore_close_listeners(restoration);
	return result < 0 ? result : open_kinds(restoration, false);
}

static int commit_all(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		restore_step *commit = kinds[entry->record.kind].commit;
		if (commit != NULL && entry->record.shared_with < 0 && !entry->lost && commit(restoration, entry) < 0)
			return -1;
	}
	return 0;
}

static int connect_all(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->count; i++) {
		struct entry *entry = &restoration->entries[i];
		restore_step *connect = kinds[entry->record.kind].connect;
		if (connect != NULL && entry->record.shared_with < 0 && !entry->lost && !entry->stands_in &&
		    connect(restoration, entry) < 0)
			return -1;
	}
	restoration->all_open = true;
	return restore_fill_rest(restoration) < 0 ? -1 : restore_finish_sockets(restoration);
}

/* Status flags belong to the open file description. Of one that is ours too, only O_NONBLOCK is
 * set: its other flags are how the user has redirected us. */
static void set_status_flags(const struct entry *entry)
{
	int settable = entry->stands_in ? O_NONBLOCK : SETTABLE_FLAGS;
	int current = fcntl(entry->temporary, F_GETFL);
	if (current < 0 || entry->lost || entry->record.kind == DESCRIPTOR_PATH)
		return;
	int wanted = (current & ~settable) | ((int)entry->record.flags & settable);
	if (wanted != current)
		fcntl(entry->temporary, F_SETFL, wanted);
}

static int place(struct restoration *restoration, struct entry *entry)
{
	const struct entry *source = restore_source(restoration, entry);
	if (source == entry)
		set_status_flags(entry);
	if (entry->record.in_flight)
		return 0;
	if (dup3(source->temporary, entry->record.number, entry->record.close_on_exec ? O_CLOEXEC : 0) < 0)
		return restore_refuse(restoration, "cannot place descriptor %d: %s", entry->record.number,
				      strerror(errno));
	return 0;
}

static int place_all(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->count; i++)
		if (place(restoration, &restoration->entries[i]) < 0)
			return -1;
	return 0;
}

static void attach_all(struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->count; i++) {
		const struct entry *entry = &restoration->entries[i];
		if (entry->record.kind == DESCRIPTOR_EPOLL && entry->record.shared_with < 0)
			restore_attach_epoll(restoration, entry);
	}
}

/* ---- the end ---- */

static void close_between(int first, int last)
{
	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	for (int fd = first; fd <= last; fd++)
		close(fd);
}

/* All below keep_from that is not the program's. */
static void close_others(const struct restoration *restoration)
{
	int next = 0;
	for (size_t i = 0; i < restoration->count && !restoration->entries[i].record.in_flight; i++) {
		close_between(next, restoration->entries[i].record.number - 1);
		next = restoration->entries[i].record.number + 1;
	}
	close_between(next, restoration->keep_from - 1);
}

static void close_made(const struct restoration *restoration)
{
	for (size_t i = 0; i < restoration->count; i++)
		if (restoration->entries[i].temporary >= 0)
			close(restoration->entries[i].temporary);
	for (size_t i = 0; i < restoration->filling_count; i++)
		if (restoration->fillings[i].other == NULL)
			close(restoration->fillings[i].end);
	for (size_t i = 0; i < restoration->pipe_count; i++) {
		close(restoration->pipes[i].ends[0]);
		close(restoration->pipes[i].ends[1]);
	}
	for (int i = 0; i < 3; i++)
		if (restoration->own[i] >= 0)
			close(restoration->own[i]);
}

static int run_phases(struct restoration *restoration)
{
	if (open_all(restoration) < 0 || restore_take_locks(restoration) < 0 || commit_all(restoration) < 0 ||
	    connect_all(restoration) < 0) {
		close_made(restoration);
		return -1;
	}
	if (place_all(restoration) < 0)
		return -1;
	attach_all(restoration);
	close_made(restoration);
	close_others(restoration);
	return 0;
}

int restore_check_descriptors(const void *manifest, size_t length, int keep_from, char *problem, size_t problem_size)
{
	struct restoration restoration = {.keep_from = keep_from, .problem = problem, .problem_size = problem_size};
	int result = restore_parse(&restoration, manifest, length);
	free(restoration.entries);
	free(restoration.locks);
	return result;
}

int restore_descriptors(const void *manifest, size_t length, int keep_from, char *problem, size_t problem_size)
{
	struct restoration restoration = {
		.keep_from = keep_from,
		.own = {-1, -1, -1},
		.problem = problem,
		.problem_size = problem_size,
	};
	struct rlimit before;
	int result = restore_parse(&restoration, manifest, length);
	if (result == 0) {
		result = prepare_numbers(&restoration, &before);
		if (result == 0)
			result = run_phases(&restoration);
		else
			close_made(&restoration);
		setrlimit(RLIMIT_NOFILE, &before);
	}
	free(restoration.entries);
	free(restoration.pipes);
	free(restoration.locks);
	free(restoration.fillings);
	return result;
}
