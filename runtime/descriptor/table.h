/*
 * Private to runtime/descriptor/: the table, and what its files ask of each other.
 *
 * Rules: no libc that can lock, allocate or touch TLS; nothing is consumed from the program's
 * descriptors; a descriptor is opened only in the stop and closed before the function returns.
 */
#ifndef RT_DESCRIPTOR_TABLE_H
#define RT_DESCRIPTOR_TABLE_H

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "base/sys.h"
#include "descriptor/descriptor.h"

#define RT_IPPROTO_MPTCP 262
#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.14: which buffer sizes were set by hand */
#endif

/* States of a TCP socket; the names of netinet/tcp.h differ between C libraries. */
enum {
	RT_TCP_ESTABLISHED = 1,
	RT_TCP_SYN_SENT = 2,
	RT_TCP_SYN_RECEIVED = 3,
	RT_TCP_FIN_WAIT1 = 4,
	RT_TCP_FIN_WAIT2 = 5,
	RT_TCP_TIME_WAIT = 6,
	RT_TCP_CLOSE = 7,
	RT_TCP_CLOSE_WAIT = 8,
	RT_TCP_LAST_ACK = 9,
	RT_TCP_LISTEN = 10,
	RT_TCP_CLOSING = 11,
};

/* A growable piece of runtime memory. */
struct descriptor_block {
	char *bytes;
	size_t capacity;
};

enum timer_judgement {
	TIMER_NOT_JUDGED,
	TIMER_RUNNING,
	TIMER_AT_REST,
};

struct descriptor {
	int number;
	uint32_t kind;          /* enum descriptor_kind */
	uint32_t recorded_kind; /* as the last capture wrote it: kind, or LOST */
	uint32_t flags, close_on_exec;
	int shared_with;      /* lowest number with the same open file description, -1 */
	uint32_t mode, links; /* st_mode, st_nlink */
	uint64_t device, inode, device_number, size;
	int64_t changed_ns;         /* st_ctim: moves when the file is renamed */
	int64_t synced_ns;          /* changed_ns and size when its contents were last made durable; 0: never, or too */
	uint64_t synced_size;       /* soon after a change */
	uint32_t name, name_length; /* in table->names; length 0: none */
	uint32_t family, type, protocol; /* sockets */
	uint64_t peer_inode;             /* the other end of a socketpair(), 0: not known to be one */
	uint32_t settings;               /* of a socket: one more than its index in table->settings; 0: not read */
	uint32_t settings_kind;          /* `kind` when they were read */
	uint32_t changes;                /* rt_descriptor_option_changes() when they were read */
	uint64_t address_key;            /* TCP connection: hash of its addresses, own first; 0: not known */
	uint64_t mirrored_key;           /* the same with the peer's first: the other end's address_key */
	uint32_t place;                  /* unix connection that waits to be accepted: before it in the queue */
	int16_t ready;                   /* POLL* in this stop; negative: not known */
	bool peer_known;                 /* unix connection: peer_inode is what the kernel says */
	bool waiting;                    /* in the queue of the listening socket peer_inode */
	bool waits_in_vain;              /* in such a queue, but with contents that cannot be copied */
	bool connecting;                 /* TCP: connect() is under way */
	bool fresh;                      /* not recognised yet */
	bool name_stale;                 /* recognised, but the name may have changed */
	bool terminal, memfd;
	uint8_t timer_judgement; /* enum timer_judgement, by the last capture */
	uint8_t timer_mark;      /* the timer's at that time: see timerfd.c */
	bool in_flight;          /* in an unread message; `number` is a duplicate's in the table of flight.c's thread */
	const char *reason;      /* what the user should know, NULL: nothing; a static text */
};

/* What is kept of a socket from checkpoint to checkpoint. */
struct socket_settings {
	struct descriptor_socket socket; /* flags and place are not kept */
	struct sockaddr_storage local, peer;
	struct descriptor_option_value options[DESCRIPTOR_OPTIONS];
	size_t memberships; /* where in the table's; socket.membership_length bytes */
};

/* What flight.c has found in this stop; nothing outside its thread but for `expected` and `refused`. */
struct flights {
	bool expected;                  /* the last capture has found some */
	bool refused;                   /* the thread cannot be had */
	bool aside;                     /* the capture runs in that thread */
	bool walked;                    /* `queues` has what the unix sockets hold */
	int first;                      /* numbers from here on are those of descriptors in flight; 0: there are none */
	size_t own;                     /* entries before those in flight */
	int fd_dir, fdinfo_dir;         /* of the thread's own table */
	struct manifest_writer queues;  /* messages */
	struct descriptor_block places; /* struct flight_queue[]: where whose are */
	size_t place_count;
	char *stack;
};

#define DESCRIPTOR_SAID 128

struct descriptor_table {
	int fd_dir, fdinfo_dir;
	bool (*hidden)(int fd);
	const struct region_table *regions; /* NULL: none */

	struct descriptor *entries; /* ascending by number */
	size_t count;
	struct descriptor_block entry_blocks[2]; /* `entries` is one of them, the other is for merging */
	int entry_block;

	uint32_t *order;   /* indices of entries by device, inode, open file description */
	uint8_t *relation; /* of order[i] to order[i + 1]: enum in share.c */
	struct descriptor_block order_block, order_scratch, relation_block;
	bool order_valid;       /* `order` covers the entries as they are */
	bool pairs_stale;       /* the entries have changed since rt_descriptor_pairs_number() */
	bool no_kcmp;           /* the kernel or a filter refuses kcmp() */
	bool connections_stale; /* TCP connections have come or gone since they were matched */
	bool said_membership;   /* that some multicast groups are not joined again */

	struct descriptor_block memberships[2]; /* as recorded; prepare copies what is in use */
	int membership_block;
	size_t membership_used;
	struct descriptor_block filter; /* struct group_filter, what the kernel answers */

	struct flights flights;

	int *hidden_numbers; /* the runtime's own, as of the last walk */
	size_t hidden_count;
	struct descriptor_block hidden_block;

	struct descriptor_block names[2]; /* paths; prepare copies from one to the other */
	int name_block;
	uint32_t renames_seen; /* of rt_descriptors_note_directory_renamed() */
	size_t names_used;
	size_t refresh_next; /* entry whose name prepare reads again next */

	struct descriptor_block settings[2]; /* struct socket_settings[]; prepare copies what is in use */
	int settings_block;
	uint32_t pair_generation; /* of the pair notes, when the sockets were last looked at */
	size_t settings_used;
	size_t settings_next;                       /* entry whose settings prepare reads again next */
	struct descriptor_block polls, connections; /* struct pollfd[]; uint32_t[], see connection.c */

	struct descriptor_block text; /* directory entries, fdinfo, unread contents */

	bool locks_looked_for, has_locks; /* see lock.c */

	unsigned timer_waits_in_vain; /* less those that were not; see timerfd.c */

	uint64_t said[DESCRIPTOR_SAID]; /* hashes of what has been reported */
	size_t said_count;
};

/* ---- descriptor.c ---- */

/* Makes room for `bytes`; 0 or -ENOMEM. */
int rt_descriptor_reserve(struct descriptor_block *block, size_t bytes);

/* NULL when `number` is not open. */
struct descriptor *rt_descriptor_find(struct descriptor_table *table, int number);

/* Adds an entry for a descriptor in flight, above all others, and finds out what it is. 0, -ENOMEM, or
 * -EBADF when it is not open. */
int rt_descriptor_add_in_flight(struct descriptor_table *table, int number);

/* The directories that show a descriptor: the program's, or those of flight.c's thread. */
static inline int rt_descriptor_directory(const struct descriptor_table *table, int number)
{
	return table->flights.first > 0 && number >= table->flights.first ? table->flights.fd_dir : table->fd_dir;
}

static inline int rt_descriptor_info_directory(const struct descriptor_table *table, int number)
{
	return table->flights.first > 0 && number >= table->flights.first ? table->flights.fdinfo_dir
									  : table->fdinfo_dir;
}

/* Finds out what it is: sets `kind`, and `reason` of what cannot be carried over. */
void rt_descriptor_recognise(struct descriptor_table *table, struct descriptor *descriptor);

/* ---- open.c ---- */

/* The soft limit of descriptors becomes the hard one; it is the process's, not the table's. True: `soft` has what is
 * to be set again. */
bool rt_descriptor_lift_limit(struct rlimit *soft);

/* Opens a file in the stop, lifting the soft limit for that instant when the table is full. */
int rt_descriptor_open_file(int directory, const char *path, int flags);
int rt_descriptor_open_pipe(int ends[2]);
int rt_descriptor_open_socket(int family, int type, int protocol);

/* ---- name.c ---- */

const char *rt_descriptor_name(const struct descriptor_table *table, const struct descriptor *descriptor);

/* Reads the link of /proc/self/fd again if needed. 0, -EBADF when it is closed, or -errno. */
int rt_descriptor_read_name(struct descriptor_table *table, struct descriptor *descriptor);

/* Not in the stop: drops the names of what is gone. 0 or -ENOMEM. */
int rt_descriptor_compact_names(struct descriptor_table *table);

/* Marks the names that are to be read again: all when a directory has been renamed; the next few. */
void rt_descriptor_refresh_renamed(struct descriptor_table *table);
void rt_descriptor_refresh_some_names(struct descriptor_table *table);

/* ---- record.c ---- */

/* Sets what the user is told and returns -EOPNOTSUPP: "cannot be carried over". */
int rt_descriptor_lost(struct descriptor *descriptor, const char *reason);

/* `bytes` begin with `address_length` bytes of address, and are `length` with it. */
void rt_descriptor_put_message(struct manifest_writer *writer, const void *bytes, size_t length, size_t address_length);

/* Fills up to a multiple of 8 bytes. */
void rt_descriptor_pad(struct manifest_writer *writer);

/* Adds the records of all entries, their owners and locks; -ECANCELED: a message carries descriptors, and
 * this is not flight.c's thread. Otherwise as rt_descriptors_capture(). */
int rt_descriptor_put_all(struct descriptor_table *table, struct manifest_writer *writer);

/* ---- share.c ---- */

/* Sets shared_with of every entry; needs entries that are validated. 0 or -ENOMEM. */
int rt_descriptor_share(struct descriptor_table *table);

/* The entries with one inode: table->entries[table->order[first]] and the `count` that follow. */
size_t rt_descriptor_same_inode(const struct descriptor_table *table, uint64_t device, uint64_t inode, size_t *first);

/* ---- the kinds: recognise sets `kind`, capture adds the payload ----
 * Capture returns 0, -EOPNOTSUPP after rt_descriptor_lost(), -ESTALE when the descriptor is
 * something else by now, -ENOMEM, -EMFILE or -ENFILE to end the capture. Another -errno: its
 * state cannot be read, the descriptor is recorded as lost. */

void rt_descriptor_recognise_file(struct descriptor_table *table, struct descriptor *descriptor);
void rt_descriptor_recognise_event(struct descriptor_table *table, struct descriptor *descriptor);
void rt_descriptor_recognise_socket(struct descriptor_table *table, struct descriptor *descriptor);

static inline bool rt_descriptor_is_tcp(const struct descriptor *descriptor)
{
	return (descriptor->family == AF_INET || descriptor->family == AF_INET6) &&
	       (descriptor->protocol == IPPROTO_TCP || descriptor->protocol == RT_IPPROTO_MPTCP);
}

static inline bool rt_descriptor_is_stream(const struct descriptor *descriptor)
{
	return descriptor->type == SOCK_STREAM || descriptor->type == SOCK_SEQPACKET;
}

/* Before the stop: reads the options and addresses of all sockets that need them. 0 or -ENOMEM. */
int rt_descriptor_gather_sockets(struct descriptor_table *table);

typedef int descriptor_capture(struct descriptor_table *, struct descriptor *, struct manifest_writer *);
descriptor_capture rt_descriptor_capture_file, rt_descriptor_capture_deleted, rt_descriptor_capture_pipe,
	rt_descriptor_capture_terminal;
descriptor_capture rt_descriptor_capture_eventfd, rt_descriptor_capture_timerfd, rt_descriptor_capture_signalfd,
	rt_descriptor_capture_pidfd, rt_descriptor_capture_inotify, rt_descriptor_capture_epoll;
descriptor_capture rt_descriptor_capture_socket, rt_descriptor_capture_pair, rt_descriptor_capture_connection;
descriptor_capture rt_descriptor_capture_queue;

/* Whether it is a POSIX message queue. */
bool rt_descriptor_is_queue(const struct descriptor *descriptor);

/* Reads /proc/self/fdinfo/N into table->text, terminated. 0 or -errno. */
int rt_descriptor_read_fdinfo(struct descriptor_table *table, int number);

/* The number after `key` at the start of a line; false when the text has no such line. */
bool rt_descriptor_get_number(const char *text, const char *key, unsigned base, uint64_t *value);

/* ---- lock.c ---- */

/* Adds the records of all locks. 0 or -errno. */
int rt_descriptor_capture_locks(struct descriptor_table *table, struct manifest_writer *writer);

/* The settings that have been read of a socket, NULL: none. */
struct socket_settings *rt_descriptor_known_settings(const struct descriptor_table *table,
						     const struct descriptor *descriptor);

/* What is known of a socket, read anew when it was not, or may have changed. NULL: no memory. */
struct socket_settings *rt_descriptor_get_settings(struct descriptor_table *table, struct descriptor *descriptor);

/* The state of a TCP socket: RT_TCP_*. */
uint8_t rt_descriptor_tcp_state(int fd);

/* ---- connecting.c ---- */

/* Where the TCP sockets are on their way to that connect() has not connected yet. 0, -ENOMEM, -EMFILE or -ENFILE. */
int rt_descriptor_find_destinations(struct descriptor_table *table);

/* ---- options.c ---- */

uint32_t rt_descriptor_option_changes(int fd);
bool rt_descriptor_options_changed(int fd, uint32_t seen);

/* What differs from a new socket; `values` has room for all. */
uint32_t rt_descriptor_get_options(const struct descriptor *descriptor, struct descriptor_option_value *values);

/* ---- netlink.c ---- */

/* Adds what is known of an answer that was not read, a struct descriptor_answer. */
void rt_descriptor_put_answer(struct descriptor *descriptor, struct manifest_writer *writer);

/* ---- unread.c ---- */

/* Adds what the socket has received and the program has not read, without consuming it. 0, -ENOMEM,
 * or what rt_descriptor_lost() returns. */
int rt_descriptor_put_unread(struct descriptor_table *table, struct descriptor *descriptor,
			     struct manifest_writer *writer);

/* The messages of a unix socket, with the descriptors they carry, which get entries. Only in flight.c's
 * thread. */
int rt_descriptor_walk_unix(struct descriptor_table *table, struct descriptor *descriptor,
			    struct manifest_writer *writer);

/* ---- flight.c ---- */

/* In the stop: rt_descriptor_put_all() in a thread whose table may hold what is in flight. */
int rt_descriptor_capture_aside(struct descriptor_table *table, struct manifest_writer *writer);

/* Moves a duplicate that the kernel has just made to where they belong; its number, or -errno. */
int rt_descriptor_take_in_flight(struct descriptor_table *table, int fd);

/* Adds what the walk has found in this socket. */
int rt_descriptor_put_queue(struct descriptor_table *table, struct descriptor *descriptor,
			    struct manifest_writer *writer);

/* The stop is over: entries in flight are no more. */
void rt_descriptor_forget_in_flight(struct descriptor_table *table);

/* In the stop: whether all that `from` has sent is with `to`, helping it along. */
bool rt_descriptor_settle(const struct descriptor *from, const struct descriptor *to);

/* ---- connection.c ---- */

/* Sets the key of a TCP connection from its addresses. */
void rt_descriptor_set_key(struct descriptor *descriptor, const struct socket_settings *settings);

/* In the stop: sets `ready` of all sockets. 0 or -ENOMEM. */
int rt_descriptor_poll_sockets(struct descriptor_table *table);

/* The inode of the other end of a unix socket; 0: it has none, or the kernel does not say. */
uint64_t rt_descriptor_peer_of(struct descriptor_table *table, uint64_t inode);

/* In the stop: sets peer_inode and `waiting` of all connections. 0 or -ENOMEM. */
int rt_descriptor_find_peers(struct descriptor_table *table);

/* ---- membership.c ---- */

/* Whether a socket has joined a group that could not be noted. */
bool rt_descriptor_memberships_missed(void);

/* Reads which groups a socket is in. */
void rt_descriptor_read_memberships(struct descriptor_table *table, const struct descriptor *descriptor,
				    struct socket_settings *settings);

const void *rt_descriptor_memberships(const struct descriptor_table *table, const struct socket_settings *settings);

/* Not in the stop: drops what is of sockets that are gone. 0 or -ENOMEM. */
int rt_descriptor_compact_memberships(struct descriptor_table *table);

/* After a restore: interfaces may have other numbers under the same names. */
void rt_descriptor_memberships_relearn(void);

/* ---- watch.c ---- */

/* The path of a watch on this inode, device as in fdinfo; NULL when it is not known. */
const char *rt_descriptor_watched_path(uint64_t device, uint64_t inode);

/* ---- owner.c ---- */

/* Adds the records of all owners. */
void rt_descriptor_capture_owners(struct descriptor_table *table, struct manifest_writer *writer);

/* ---- pair.c ---- */

/* The inode of the other end, 0 when `inode` was not made by socketpair(). */
uint64_t rt_descriptor_pair_of(uint64_t inode);

/* Changes when a pair has been noted. */
uint32_t rt_descriptor_pair_generation(void);

/* Remembers the numbers of pairs that are open, for rt_descriptor_pairs_relearn(). Not in the stop. */
void rt_descriptor_pairs_number(struct descriptor_table *table);

/* After a restore: the sockets have new inodes under the old numbers. */
void rt_descriptor_pairs_relearn(struct descriptor_table *table);

/* ---- system calls only used here ---- */

static inline int rt_sys_readlinkat(int directory, const char *path, char *buffer, size_t size)
{
	return (int)rt_syscall(SYS_readlinkat, directory, path, buffer, size);
}

static inline int rt_sys_getdents(int directory, void *buffer, size_t size)
{
	return (int)rt_syscall(SYS_getdents64, directory, buffer, size);
}

static inline int rt_sys_getsockopt(int fd, int level, int option, void *value, socklen_t *length)
{
	return (int)rt_syscall(SYS_getsockopt, fd, level, option, value, length);
}

static inline int rt_sys_setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
	return (int)rt_syscall(SYS_setsockopt, fd, level, option, value, length);
}

static inline bool rt_descriptor_get_option(int fd, int level, int option, int *value)
{
	socklen_t length = sizeof(*value);
	*value = 0;
	return rt_sys_getsockopt(fd, level, option, value, &length) >= 0;
}

static inline int rt_sys_getsockname(int fd, void *address, socklen_t *length)
{
	return (int)rt_syscall(SYS_getsockname, fd, address, length);
}

/* Linux tells one byte more than there is of a unix path that fills its address. */
static inline socklen_t rt_descriptor_address_length(const void *address, socklen_t length)
{
	bool is_unix = length >= sizeof(sa_family_t) && *(const sa_family_t *)address == AF_UNIX;
	return is_unix && length > sizeof(struct sockaddr_un) ? sizeof(struct sockaddr_un) : length;
}

static inline int rt_sys_getpeername(int fd, void *address, socklen_t *length)
{
	return (int)rt_syscall(SYS_getpeername, fd, address, length);
}

static inline ssize_t rt_sys_recvmsg(int fd, struct msghdr *message, int flags)
{
	return rt_syscall(SYS_recvmsg, fd, message, flags);
}

static inline ssize_t rt_sys_tee(int from, int to, size_t length, unsigned flags)
{
	return rt_syscall(SYS_tee, from, to, length, flags);
}

/* What is ready now, out of `events`; POLLERR, POLLHUP, POLLNVAL too. Does not wait. */
static inline int rt_sys_poll_now(int fd, short events)
{
	struct pollfd entry = {.fd = fd, .events = events};
	struct timespec now = {0};
	long ready = rt_syscall(SYS_ppoll, &entry, 1, &now, NULL, 8);
	return ready < 0 ? (int)ready : entry.revents;
}

#endif
