/*
 * Descriptors: what the checkpoint records of each, and how the records look.
 *
 * The truth is the walk over /proc/self/fd at the checkpoint, not a record of calls. What is
 * slow (links, addresses) is gathered before the threads are parked; while they are parked each
 * descriptor is validated (fstat, F_GETFL, F_GETFD) and what changes with use is read: offsets,
 * lengths, unread contents, counters, interest lists.
 *
 *   descriptor.c  the table: walk, validation, what each is
 *   name.c     their names; open.c opens, record.c writes the records
 *   share.c    which descriptors share one open file description
 *   file.c     files, directories, devices, terminals, pipes
 *   event.c    eventfd, timerfd, signalfd, inotify, epoll
 *   lock.c     locks of files
 *   owner.c    who is told of input by a signal
 *   terminal.c terminals and pseudo-terminals
 *   watch.c    remembers the paths of inotify watches
 *   flight.c   descriptors in unread messages of unix sockets
 *   membership.c  multicast groups
 *   netlink.c  what netlink sockets hold
 *   socket.c   sockets; options.c their options, unread.c what they hold, connection.c who is
 *              connected to whom; pair.c remembers socketpair()
 *
 * Restore is tools/restore/descriptors/.
 */
#ifndef RT_DESCRIPTOR_H
#define RT_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"

/* ---- the records ---- */

/* How a descriptor is brought back. */
enum descriptor_kind {
	DESCRIPTOR_LOST = 1,         /* cannot be: a descriptor on which every operation fails with EBADF */
	DESCRIPTOR_REGULAR = 2,      /* opened by name; struct descriptor_file */
	DESCRIPTOR_DELETED = 3,      /* a file without a name, memfd too; struct descriptor_file + contents */
	DESCRIPTOR_DIRECTORY = 4,    /* opened by name; struct descriptor_file */
	DESCRIPTOR_DEVICE = 5,       /* memory or block device, by name; struct descriptor_file */
	DESCRIPTOR_TERMINAL = 6,     /* respct-restore's own 0, 1 or 2, or the slave of a master in the process;
				      * struct descriptor_terminal */
	DESCRIPTOR_PATH = 7,         /* O_PATH; opened by name; no payload */
	DESCRIPTOR_PIPE = 8,         /* struct descriptor_pipe + messages */
	DESCRIPTOR_FIFO = 9,         /* opened by name; struct descriptor_pipe + messages */
	DESCRIPTOR_EVENTFD = 10,     /* struct descriptor_eventfd */
	DESCRIPTOR_TIMERFD = 11,     /* struct descriptor_timerfd */
	DESCRIPTOR_SIGNALFD = 12,    /* struct descriptor_signalfd */
	DESCRIPTOR_INOTIFY = 13,     /* struct descriptor_inotify + struct descriptor_watch[] with their paths */
	DESCRIPTOR_EPOLL = 14,       /* struct descriptor_epoll + struct descriptor_interest[] */
	DESCRIPTOR_LISTENING = 15,   /* bound and listening; struct descriptor_socket */
	DESCRIPTOR_UNCONNECTED = 16, /* datagram, or stream before connect(); struct descriptor_socket */
	DESCRIPTOR_PAIR = 17,        /* socketpair() within the process; struct descriptor_socket + messages */
	DESCRIPTOR_CONNECTION = 18,  /* within the process, or to the outside: then it reads as closed after
				     * its messages; struct descriptor_socket + messages */
	DESCRIPTOR_MASTER = 19,      /* the master of a pseudo-terminal; struct descriptor_terminal */
	DESCRIPTOR_PIDFD = 20,       /* struct descriptor_pidfd */
	DESCRIPTOR_QUEUE = 21,       /* POSIX message queue; struct descriptor_queue */
	DESCRIPTOR_KINDS             /* one more than the last */
};

/*
 * One open descriptor. Followed by `payload_length` bytes of its kind's structure and data
 * (8-byte aligned, a multiple of 8), then by `name_length` bytes of name. Records are in
 * ascending order of `number`. A descriptor that shares its open file description with a lower
 * one (dup) carries neither payload nor name: the lower one's record has them.
 *
 * Descriptors in flight (SCM_RIGHTS, in an unread message) come last. They have no number in the
 * process; the one they have here, above all others, is what the message calls them by.
 */
struct manifest_descriptor {
	int32_t number;
	uint32_t kind;           /* enum descriptor_kind */
	uint32_t flags;          /* F_GETFL: access mode and status flags, O_* */
	uint32_t close_on_exec;  /* 0 or 1 */
	int32_t shared_with;     /* lowest number with the same open file description, -1: itself */
	uint32_t mode;           /* st_mode */
	uint64_t device, inode;  /* st_dev, st_ino */
	uint32_t payload_length; /* bytes that follow */
	uint32_t name_length;    /* of the name after the payload, with its terminator; 0: none.
				  * The link of /proc/self/fd; for LOST: what to call it */
	uint32_t in_flight;      /* 0 or 1 */
	uint32_t zero;
};

/* REGULAR, DELETED, DIRECTORY, DEVICE. DELETED: struct descriptor_extent with their bytes follow, for
 * what is not zero and not captured with a shared mapping (manifest.h, REGION_ANONYMOUS_SHARED). */
struct descriptor_file {
	int64_t offset;         /* of the open file description, bytes */
	uint64_t size;          /* st_size at the checkpoint, bytes */
	uint64_t device_number; /* st_rdev, devices only */
	uint32_t writable;      /* 1: the file is cut back to `size` at restore */
	uint32_t seals;         /* DELETED: F_SEAL_*, memfd only; ~0: not a memfd */
};

/* A piece of a file's contents; `length` bytes follow, padded to 8. */
struct descriptor_extent {
	uint64_t offset; /* in the file, bytes */
	uint64_t length; /* bytes, > 0 */
};

/* Unread data of pipes and sockets: messages one after the other, each part of them padded to 8 bytes. */
struct descriptor_message {
	uint32_t length;          /* bytes that follow, without padding; may be 0 */
	uint32_t address_length;  /* datagram: the first of them are the sender's address, at most 128 */
	uint32_t rights;          /* unix: descriptors it carries; their numbers follow, int32_t, each of a record
				  * in flight */
	uint32_t has_credentials; /* unix: 0 or 1; then struct descriptor_credentials follows */
};

#define DESCRIPTOR_RIGHTS 253 /* the kernel's SCM_MAX_FD */

/* Who sent a message, as SO_PASSCRED tells. */
struct descriptor_credentials {
	int32_t pid;
	uint32_t uid, gid;
	uint32_t zero;
};

/* PIPE, FIFO. Ends of one pipe have the same inode. The messages stand in the record of the
 * lowest descriptor that can read; their boundaries mean something with `packets` only. */
struct descriptor_pipe {
	uint32_t inside;   /* 1: the process holds both ends */
	uint32_t capacity; /* F_GETPIPE_SZ, bytes */
	uint32_t packets;  /* 1: an end that writes is O_DIRECT */
	uint32_t zero;
};

/* TERMINAL, MASTER. */
struct descriptor_terminal {
	uint32_t input_flags, output_flags, control_flags, local_flags; /* the kernel's struct termios2 */
	uint8_t line_discipline;
	uint8_t control_characters[19];
	uint32_t input_speed, output_speed; /* baud */
	uint16_t rows, columns;             /* window size; 0: not known */
	int32_t index;                      /* of a pseudo-terminal: the N of /dev/pts/N; -1: it is none */
	uint32_t locked;                    /* MASTER: its slave may not be opened yet (TIOCSPTLCK) */
	uint32_t packets;                   /* MASTER: packet mode (TIOCPKT) */
	uint32_t unread;                    /* MASTER: bytes that were not read; they are lost */
};

struct descriptor_eventfd {
	uint64_t count;
	uint32_t semaphore; /* EFD_SEMAPHORE */
	uint32_t zero;
};

struct descriptor_timerfd {
	int64_t value_ns;       /* to the next expiration; 0: disarmed. A point in time when the timer was
				 * set with TFD_TIMER_ABSTIME on CLOCK_REALTIME */
	int64_t interval_ns;    /* period; 0: one shot */
	uint64_t ticks;         /* expirations not read yet */
	uint32_t clock;         /* CLOCK_* */
	uint32_t settime_flags; /* TFD_TIMER_* of the last timerfd_settime() */
};

struct descriptor_signalfd {
	uint64_t mask; /* bit n - 1 is signal n */
};

struct descriptor_inotify {
	uint32_t watches; /* of struct descriptor_watch that follow */
	uint32_t unread;  /* bytes of events that were not read; they are lost */
};

struct descriptor_pidfd {
	int32_t pid; /* the process, or with PIDFD_THREAD the thread; -1: it had ended and been waited for */
	uint32_t zero;
};

/* QUEUE. The messages are the kernel's, and stay as they are, while the queue exists. */
struct descriptor_queue {
	uint64_t most_messages; /* it holds */
	uint64_t message_bytes; /* a message may have */
	uint64_t unread;        /* messages in it at the checkpoint */
	uint32_t named;         /* 0: it had been removed */
	uint32_t notifies;      /* 1: the process had asked for mq_notify(), which cannot be asked for again */
};

/* Followed by its path, padded to 8 bytes. */
struct descriptor_watch {
	int32_t number;       /* watch descriptor */
	uint32_t mask;        /* IN_* */
	uint64_t inode;       /* of what is watched */
	uint32_t path_length; /* bytes with the terminator; 0: the path is not known */
	uint32_t zero;
};

struct descriptor_epoll {
	uint32_t count; /* of struct descriptor_interest that follow */
	uint32_t zero;
};

struct descriptor_interest {
	int32_t number;  /* descriptor watched */
	uint32_t events; /* EPOLL*; without EPOLLERR: a one-shot that has fired */
	uint64_t data;   /* epoll_data_t */
};

#define DESCRIPTOR_SO_PASSPIDFD 76 /* Linux 6.5 */

/*
 * Options of sockets that are carried over: X(name, level, option, bytes, usual). An option of four
 * bytes that has the value `usual`, or a longer one that is all zeros, is not recorded: a new socket
 * has it. The order is that in which they are set: IP_TOS changes SO_PRIORITY.
 */
#define DESCRIPTOR_SOCKET_OPTIONS(X)                                \
	X(REUSEADDR, SOL_SOCKET, SO_REUSEADDR, 4, 0)                \
	X(REUSEPORT, SOL_SOCKET, SO_REUSEPORT, 4, 0)                \
	X(KEEPALIVE, SOL_SOCKET, SO_KEEPALIVE, 4, 0)                \
	X(BROADCAST, SOL_SOCKET, SO_BROADCAST, 4, 0)                \
	X(DONTROUTE, SOL_SOCKET, SO_DONTROUTE, 4, 0)                \
	X(PASSCRED, SOL_SOCKET, SO_PASSCRED, 4, 0)                  \
	X(PASSPIDFD, SOL_SOCKET, DESCRIPTOR_SO_PASSPIDFD, 4, 0)     \
	X(OOBINLINE, SOL_SOCKET, SO_OOBINLINE, 4, 0)                \
	X(TIMESTAMP, SOL_SOCKET, SO_TIMESTAMP, 4, 0)                \
	X(TIMESTAMPNS, SOL_SOCKET, SO_TIMESTAMPNS, 4, 0)            \
	X(MARK, SOL_SOCKET, SO_MARK, 4, 0)                          \
	X(BUSY_POLL, SOL_SOCKET, SO_BUSY_POLL, 4, 0)                \
	X(RXQ_OVFL, SOL_SOCKET, SO_RXQ_OVFL, 4, 0)                  \
	X(NO_CHECK, SOL_SOCKET, SO_NO_CHECK, 4, 0)                  \
	X(ZEROCOPY, SOL_SOCKET, SO_ZEROCOPY, 4, 0)                  \
	X(BINDTODEVICE, SOL_SOCKET, SO_BINDTODEVICE, 16, 0)         \
	X(RCVBUF, SOL_SOCKET, SO_RCVBUF, 4, 0)                      \
	X(SNDBUF, SOL_SOCKET, SO_SNDBUF, 4, 0)                      \
	X(RCVTIMEO, SOL_SOCKET, SO_RCVTIMEO, 16, 0)                 \
	X(SNDTIMEO, SOL_SOCKET, SO_SNDTIMEO, 16, 0)                 \
	X(LINGER, SOL_SOCKET, SO_LINGER, 8, 0)                      \
	X(RCVLOWAT, SOL_SOCKET, SO_RCVLOWAT, 4, 1)                  \
	X(PEEK_OFF, SOL_SOCKET, SO_PEEK_OFF, 4, -1)                 \
	X(CONGESTION, IPPROTO_TCP, TCP_CONGESTION, 16, 0)           \
	X(NODELAY, IPPROTO_TCP, TCP_NODELAY, 4, 0)                  \
	X(CORK, IPPROTO_TCP, TCP_CORK, 4, 0)                        \
	X(MAXSEG, IPPROTO_TCP, TCP_MAXSEG, 4, 536)                  \
	X(DEFER_ACCEPT, IPPROTO_TCP, TCP_DEFER_ACCEPT, 4, 0)        \
	X(KEEPIDLE, IPPROTO_TCP, TCP_KEEPIDLE, 4, 7200)             \
	X(KEEPINTVL, IPPROTO_TCP, TCP_KEEPINTVL, 4, 75)             \
	X(KEEPCNT, IPPROTO_TCP, TCP_KEEPCNT, 4, 9)                  \
	X(SYNCNT, IPPROTO_TCP, TCP_SYNCNT, 4, 6)                    \
	X(LINGER2, IPPROTO_TCP, TCP_LINGER2, 4, 60)                 \
	X(USER_TIMEOUT, IPPROTO_TCP, TCP_USER_TIMEOUT, 4, 0)        \
	X(FASTOPEN, IPPROTO_TCP, TCP_FASTOPEN, 4, 0)                \
	X(NOTSENT_LOWAT, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4, 0)      \
	X(TOS, IPPROTO_IP, IP_TOS, 4, 0)                            \
	X(PRIORITY, SOL_SOCKET, SO_PRIORITY, 4, -1)                 \
	X(TTL, IPPROTO_IP, IP_TTL, 4, 64)                           \
	X(MINTTL, IPPROTO_IP, IP_MINTTL, 4, 0)                      \
	X(FREEBIND, IPPROTO_IP, IP_FREEBIND, 4, 0)                  \
	X(TRANSPARENT, IPPROTO_IP, IP_TRANSPARENT, 4, 0)            \
	X(BIND_NO_PORT, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 4, 0)  \
	X(PKTINFO, IPPROTO_IP, IP_PKTINFO, 4, 0)                    \
	X(RECVTTL, IPPROTO_IP, IP_RECVTTL, 4, 0)                    \
	X(RECVTOS, IPPROTO_IP, IP_RECVTOS, 4, 0)                    \
	X(RECVERR, IPPROTO_IP, IP_RECVERR, 4, 0)                    \
	X(RECVORIGDSTADDR, IPPROTO_IP, IP_RECVORIGDSTADDR, 4, 0)    \
	X(MTU_DISCOVER, IPPROTO_IP, IP_MTU_DISCOVER, 4, 1)          \
	X(MULTICAST_TTL, IPPROTO_IP, IP_MULTICAST_TTL, 4, 1)        \
	X(MULTICAST_LOOP, IPPROTO_IP, IP_MULTICAST_LOOP, 4, 1)      \
	X(MULTICAST_ALL, IPPROTO_IP, IP_MULTICAST_ALL, 4, 1)        \
	X(MULTICAST_IF, IPPROTO_IP, IP_MULTICAST_IF, 4, 0)          \
	X(V6ONLY, IPPROTO_IPV6, IPV6_V6ONLY, 4, 0)                  \
	X(TCLASS, IPPROTO_IPV6, IPV6_TCLASS, 4, 0)                  \
	X(UNICAST_HOPS, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 4, 64)     \
	X(RECVPKTINFO, IPPROTO_IPV6, IPV6_RECVPKTINFO, 4, 0)        \
	X(RECVTCLASS, IPPROTO_IPV6, IPV6_RECVTCLASS, 4, 0)          \
	X(RECVHOPLIMIT, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 4, 0)      \
	X(RECVERR6, IPPROTO_IPV6, IPV6_RECVERR, 4, 0)               \
	X(MTU_DISCOVER6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, 4, 1)     \
	X(MULTICAST_HOPS, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 4, 1)  \
	X(MULTICAST_LOOP6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 4, 1) \
	X(MULTICAST_IF6, IPPROTO_IPV6, IPV6_MULTICAST_IF, 4, 0)     \
	X(NL_PKTINFO, SOL_NETLINK, NETLINK_PKTINFO, 4, 0)           \
	X(NL_BROADCAST, SOL_NETLINK, NETLINK_BROADCAST_ERROR, 4, 0) \
	X(NL_NO_ENOBUFS, SOL_NETLINK, NETLINK_NO_ENOBUFS, 4, 0)     \
	X(NL_CAP_ACK, SOL_NETLINK, NETLINK_CAP_ACK, 4, 0)           \
	X(NL_EXT_ACK, SOL_NETLINK, NETLINK_EXT_ACK, 4, 0)           \
	X(NL_STRICT, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 4, 0)

#define X(name, level, option, bytes, usual) DESCRIPTOR_OPTION_##name,
enum descriptor_option { DESCRIPTOR_SOCKET_OPTIONS(X) DESCRIPTOR_OPTIONS };
#undef X

#define DESCRIPTOR_OPTION_BYTES 16 /* the longest value */

/* One option, its value as getsockopt() gives it (RCVBUF, SNDBUF: as setsockopt() wants it). */
struct descriptor_option_value {
	uint32_t option; /* enum descriptor_option */
	uint32_t length; /* of `value` */
	uint8_t value[DESCRIPTOR_OPTION_BYTES];
};

enum descriptor_socket_flag {
	SOCKET_READ_CLOSED = 1,  /* reads no more: after what is unread, end of file */
	SOCKET_WRITE_CLOSED = 2, /* TCP: has said that it will send no more */
	SOCKET_WAITING = 4,      /* in the queue of the listening socket `peer_inode` */
	SOCKET_CONNECTING = 8,   /* connect() is under way to the peer's address, if that is known */
};

/* LISTENING, UNCONNECTED, PAIR, CONNECTION. `option_count` options follow, then the two addresses,
 * each padded to 8 bytes, then memberships, then messages: what this socket had received and not read. */
struct descriptor_socket {
	uint32_t family, type, protocol; /* SO_DOMAIN, SO_TYPE, SO_PROTOCOL */
	int32_t backlog;                 /* LISTENING: listen() argument */
	uint64_t peer_inode;             /* PAIR, CONNECTION: the other end's, 0: it is not in the process */
	uint32_t flags;                  /* bits of enum descriptor_socket_flag */
	uint32_t path_mode;              /* unix address: st_mode of its file; 0: there was no file */
	uint32_t place;                  /* SOCKET_WAITING: before it in the queue */
	uint32_t option_count;           /* of struct descriptor_option_value that follow */
	uint32_t local_length;           /* of the address it is bound to, at most 128; 0: it is not */
	uint32_t peer_length;            /* of the address it is connected to, at most 128; 0: none */
	uint32_t membership_length;      /* bytes of struct descriptor_membership and their sources */
	uint32_t zero;
};

/* UNCONNECTED, of netlink: its one message. The first that was not read. */
struct descriptor_answer {
	uint32_t queued;  /* SK_MEMINFO_RMEM_ALLOC: of it and all that follow, as the kernel counts; 0: not known */
	uint32_t length;  /* of `head`, bytes */
	uint8_t head[64]; /* how it begins, with a struct nlmsghdr */
};

/* A multicast group that a socket is in; `source_count` sources follow, 16 bytes each. An IPv4 address
 * takes the first 4 bytes. AF_NETLINK: the sources are a map of the groups, bit 0 is group 1; the rest is 0. */
struct descriptor_membership {
	uint32_t family;    /* AF_INET, AF_INET6, AF_NETLINK */
	uint32_t mode;      /* MCAST_INCLUDE: from these sources only, MCAST_EXCLUDE: from all but these */
	uint32_t interface; /* its number at the checkpoint */
	uint32_t source_count;
	char interface_name[16]; /* terminated */
	uint8_t group[16];
};

/* ---- capture; checkpoint thread only ---- */

struct descriptor_table;

/*
 * The table lives in runtime memory. `fd_dir` is an open descriptor of /proc/self/fd,
 * `fdinfo_dir` of /proc/self/fdinfo (both stay readable after the program changes its user; after
 * its main thread has exited they are replaced by the checkpoint thread's, number kept).
 * `hidden(fd)` tells the runtime's own descriptors, which are left out; these two must be among
 * them. Keeps no descriptor of its own. Called once at start, and again in a restored process, after the
 * descriptors are back: it then learns the new inodes of the socket pairs. NULL when memory ran out.
 */
struct descriptor_table *rt_descriptors_open(int fd_dir, int fdinfo_dir, bool (*hidden)(int fd));

/* The two directories are open under these numbers from now on. */
void rt_descriptors_set_directories(struct descriptor_table *table, int fd_dir, int fdinfo_dir);

/* The mappings as of the last walk: what a shared one captures of a file without a name is left out
 * of the file's record. Constant after; NULL: no mappings. */
struct region_table;
void rt_descriptors_set_regions(struct descriptor_table *table, const struct region_table *regions);

/* In the stop: whether the contents of this file without a name will be captured with a descriptor. */
bool rt_descriptors_hold(const struct descriptor_table *table, uint64_t device, uint64_t inode);

/* Before the stop: brings the table up to date with what is open now. Opens nothing. 0 or -errno. */
int rt_descriptors_prepare(struct descriptor_table *table);

/*
 * In the stop: adds one MANIFEST_DESCRIPTOR record per open descriptor, ascending. What cannot
 * be restored is recorded as DESCRIPTOR_LOST and named once on stderr (by rt_descriptors_report).
 * 0 or -errno: the checkpoint is then to be given up (out of memory; -EMFILE when the process
 * has no descriptor to spare for reading fdinfo and its hard limit is reached; -ESRCH when /proc
 * does not show the descriptors).
 */
int rt_descriptors_capture(struct descriptor_table *table, struct manifest_writer *writer);

/* After the resume: makes durable what has been written to the files that the last capture found open. 0 or
 * -errno. */
int rt_descriptors_sync(struct descriptor_table *table);

/* After the resume: says what the last capture found and could not protect, each thing once. */
void rt_descriptors_report(struct descriptor_table *table);

/* The program is about to ask for a lock of a file. Any thread. */
void rt_descriptors_note_locking(void);

/* In a restored process: takes the locks that belong to the process again. 0 or -errno. */
int rt_descriptors_lock_again(const void *manifest, size_t length);

/* The program is about to say who is to be told of input. Any thread. */
void rt_descriptors_note_owner(void);

/* In a restored process: sets the owners again. */
void rt_descriptors_own_again(const void *manifest, size_t length);

/* A timer descriptor is set (before the call, and again after it), is set to never, or has been read. Any thread,
 * lock-free. */
void rt_descriptors_note_timer(int fd, bool is_set);

/* A directory has been renamed: the names of what is open in it are read again by the next capture. Any
 * thread, lock-free. */
void rt_descriptors_note_directory_renamed(void);

/* Around a setsockopt() of the program, which nothing else shows. Called by the shim on program
 * threads; lock-free, safe at any time. */
void rt_descriptors_option_begins(int fd);
void rt_descriptors_option_ends(int fd);

/* setsockopt() with these arguments has made a socket join a multicast group. Any thread, lock-free; between
 * the two calls above. */
void rt_descriptors_note_membership(int fd, int level, int option, const void *value, uint32_t length);

/* Tells of an inotify watch: device and inode as in stat(), and its absolute path. Called by the shim on
 * program threads; thread-safe, allocates. */
void rt_descriptors_note_watch(uint64_t device, uint64_t inode, const char *path);

/* Tells of a socketpair(), for which the kernel has no question. Called by the shim on program
 * threads; lock-free, safe at any time. Inode numbers as in fstat(). */
void rt_descriptors_note_pair(uint64_t inode_a, uint64_t inode_b);

#endif
