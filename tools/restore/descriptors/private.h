/*
 * Private to tools/restore/descriptors/.
 *
 * The phases, each over all descriptors: parse (a hostile manifest ends here), open (each is made
 * at a temporary high number; nothing outside the process changes), commit (files are cut back,
 * unix sockets bound, listening starts), connect (sockets to each other, and what they had not
 * read), place (at its number), attach (epoll interest lists). Descriptors in flight are entries
 * like the others, but for place: they are sent with the messages that carry them, when all is open.
 */
#ifndef RESTORE_DESCRIPTORS_PRIVATE_H
#define RESTORE_DESCRIPTORS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "runtime/descriptor/descriptor.h"

struct entry {
	struct manifest_descriptor record;
	const uint8_t *payload; /* record.payload_length bytes, 8-byte aligned */
	const char *name;       /* "" when there is none */
	int temporary;          /* where it is until it is placed; -1: not opened */
	bool stands_in;         /* temporary is a copy of our own 0, 1 or 2 */
	bool lost;              /* temporary is the descriptor that always fails */
	bool filled;            /* its unread contents are back */
	bool carries;           /* socket: its unread contents carry descriptors */
	bool elsewhere;         /* socket: not yet bound to its own address */
};

/* A socket whose unread contents wait until all is open that they carry. */
struct filling {
	struct entry *entry;
	struct entry *other; /* its other end, NULL: that is not an entry */
	int end;             /* the other end */
};

/* A pipe or FIFO of the program: both ends, from which its descriptors are opened. */
struct made_pipe {
	uint64_t device, inode;
	int ends[2]; /* read, write; for a FIFO the same, open for both */
};

/* A listening socket of our own, at the address of a connection that is made again. */
struct listener {
	struct sockaddr_storage address;
	int fd;
};

struct restoration {
	struct entry *entries; /* ascending by number */
	size_t count;
	struct made_pipe *pipes;
	size_t pipe_count;
	struct manifest_lock *locks;
	size_t lock_count;
	int base;                   /* temporary numbers start here, above every number of the program */
	int keep_from;              /* open descriptors from here on are the caller\'s */
	int own[3];                 /* copies of our 0, 1, 2 */
	struct listener *listeners; /* others, at addresses the program's connections had */
	size_t listener_count;
	struct filling *fillings;
	size_t filling_count;
	bool all_open;         /* nothing need wait any more */
	bool told_credentials; /* that a message comes as the program's own */
	int64_t patience_ns;   /* until when to wait for what others have; 0: not yet */
	int32_t pid;           /* of the program; 0: not in the manifest */
	char *problem;
	size_t problem_size;
};

/* Sets the problem and returns -1. */
int restore_refuse(struct restoration *restoration, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One line on our stderr. */
void restore_warn(const struct restoration *restoration, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Moves a descriptor to a temporary number. -1 when there is none (and `fd` is closed). A
 * negative `fd` passes through. */
int restore_move_up(const struct restoration *restoration, int fd);

/* Makes `entry` a descriptor on which every operation fails; says so, with the reason. */
int restore_lose(struct restoration *restoration, struct entry *entry, const char *reason);

/* The entry whose open file description this one shares, or itself: that has a temporary number. */
const struct entry *restore_source(struct restoration *restoration, const struct entry *entry);

/* An earlier entry of the same kind and object that has been opened already, under an open file description of its
 * own. NULL: none. */
const struct entry *restore_same_object(const struct restoration *restoration, const struct entry *entry);

/* Opens /proc/self/fd/`fd` anew: the same object under a new open file description. */
int restore_reopen(int fd, int flags);

/*
 * Whether to try again what has failed with `error`, after a moment: addresses and locks are free again soon when a
 * connection had them that has ended, or a child of the dead process that was about to close what it has inherited. Not
 * when something else is the matter, or the restore has waited for long enough in all. Keeps errno.
 */
bool restore_be_patient(struct restoration *restoration, int error);

struct entry *restore_find(struct restoration *restoration, int number);

struct message {
	const uint8_t *bytes;
	size_t length;         /* of all bytes */
	size_t address_length; /* the first of them are the sender's address */
	const int32_t *rights; /* numbers of the entries it carries */
	uint32_t right_count;
	const struct descriptor_credentials *credentials; /* NULL: none */
};

typedef bool restore_message(void *context, const struct message *message);

/* Calls `use` for each message at [start, end) of the payload. False when they are malformed or
 * `use` returned false. `use` may be NULL. */
bool restore_each_message(const struct entry *entry, size_t start, restore_message *use, void *context);

/* The payload's fixed structure; parse has checked that it is there. */
#define PAYLOAD(entry, type) ((const type *)(const void *)(entry)->payload)

/* ---- sockets ---- */

static inline const struct descriptor_socket *restore_socket_of(const struct entry *entry)
{
	return PAYLOAD(entry, struct descriptor_socket);
}

static inline bool restore_is_network(const struct entry *entry)
{
	return restore_socket_of(entry)->family == AF_INET || restore_socket_of(entry)->family == AF_INET6;
}

/* ---- options.c: the payload of a socket ---- */

/* Whether options and addresses lie within the payload. Parse calls it before all others. */
bool restore_valid_options(const struct entry *entry);

/* Where the messages start. */
size_t restore_socket_messages(const struct entry *entry);

#define RESTORE_SOURCE_BYTES 16 /* of an address in the list of sources */

/* A group that a socket was in, and its sources. */
typedef void restore_membership(void *context, const struct descriptor_membership *membership, const uint8_t *sources);

/* Calls `use`, which may be NULL, for each. False when they are malformed. */
bool restore_each_membership(const struct entry *entry, restore_membership *use, void *context);

struct sockaddr_storage restore_local_address(const struct entry *entry);
struct sockaddr_storage restore_peer_address(const struct entry *entry);

/* The recorded value, or (false) that of a new socket. */
bool restore_get_option(const struct entry *entry, uint32_t option, int *number);

/* Before binding, and when all is bound, connected and filled. */
void restore_set_options(int fd, const struct entry *entry);
void restore_set_last_options(int fd, const struct entry *entry);

/* ---- socket.c ---- */

/* A new socket of the same kind at a temporary number; -1: errno. */
int restore_new_socket(const struct restoration *restoration, const struct entry *entry);

/* Refuses: "cannot WHAT for descriptor N". */
int restore_refuse_socket(struct restoration *restoration, const struct entry *entry, const char *what);

/* Binds a unix socket to the recorded path, removing what nobody listens on. 0 or -1, refused. */
int restore_bind_path(struct restoration *restoration, const struct entry *entry, const char *path);

/* ---- connection.c ---- */

/* The entry with that inode that is a socket of `kind`, NULL: none. */
struct entry *restore_find_socket(struct restoration *restoration, uint64_t inode, uint32_t kind);

/* When all sockets are there: connections that wait to be accepted, the last options. 0 or -1. */
int restore_finish_sockets(struct restoration *restoration);

#define RESTORE_ACCEPT_MS 1000 /* how long accept() waits for a connection of our own, which is there at once */

/* ---- tcp.c ---- */

/* Closes the listening sockets of our own, before the program's take their places. */
void restore_close_listeners(struct restoration *restoration);

/* Makes both ends of a connection within the program, and fills them. 0 or -1, refused. */
int restore_open_inside(struct restoration *restoration, struct entry *entry, struct entry *other);

/* A socket at the recorded address, or of the loopback network, and its other end. False: neither. */
bool restore_make_outside(struct restoration *restoration, struct entry *entry, int *end);

/*
 * Binds a socket that is to connect. When a connection that has ended still holds the port, only
 * connect() itself may choose it again: it is left a range of that one port to choose from, until
 * restore_forget_port_range().
 */
bool restore_bind_client(int fd, struct sockaddr_storage address, socklen_t length);
void restore_forget_port_range(int fd);

/* Closes `fd` unless it is negative, keeps errno, and returns false. */
bool restore_give_up(int fd);

/* ---- fill.c ---- */

/* Sends through `end` what the socket of `entry` had not read; says so when it does not fit. */
void restore_send_unread(struct restoration *restoration, const struct entry *entry, int end);

/* Both directions, each with its end if it has one; what carries descriptors waits until all is open. `other` may be
 * NULL: that end is `end`, and is closed. 0 or -1, refused. */
int restore_fill_connection(struct restoration *restoration, struct entry *entry, struct entry *other, int end);

/* When all is open: fills those that had to wait for that. 0 or -1. */
int restore_fill_rest(struct restoration *restoration);

/* ---- flight.c ---- */

/* sendmsg() of the bytes [done, end) of a message, with what it carries if `done` is at their start. */
ssize_t restore_send_message(struct restoration *restoration, const struct entry *entry, int fd,
			     const struct message *message, size_t done, const struct sockaddr_storage *to,
			     socklen_t to_length);

/* ---- membership.c ---- */

/* Joins the multicast groups again that the socket was in. */
void restore_join_groups(const struct restoration *restoration, const struct entry *entry);

/* ---- netlink.c ---- */

/* Whether what a netlink socket holds is one answer with a whole head, or nothing. */
bool restore_valid_answer(const struct entry *entry);

/* Asks the kernel again what the program had asked and not read. */
void restore_ask_again(const struct restoration *restoration, const struct entry *entry);

/* ---- datagram.c ---- */

/* Delivers what a datagram socket had not read, from where it came as far as possible. */
void restore_fill_datagrams(struct restoration *restoration, struct entry *entry);

/* The same before a socket of the network is bound, when its address may be others', too. False: it is not. */
bool restore_fill_elsewhere(struct restoration *restoration, struct entry *entry);

/* ---- phases ---- */

int restore_parse(struct restoration *restoration, const void *manifest, size_t length);
void restore_attach_epoll(struct restoration *restoration, const struct entry *entry);

typedef int restore_step(struct restoration *, struct entry *);

restore_step restore_open_regular, restore_open_deleted, restore_open_directory, restore_open_device, restore_open_path,
	restore_open_terminal, restore_open_master, restore_open_pipe;
restore_step restore_open_pidfd, restore_open_eventfd, restore_open_timerfd, restore_open_signalfd,
	restore_open_inotify, restore_open_epoll;
restore_step restore_open_queue;
restore_step restore_open_socket, restore_open_pair, restore_open_connection;
restore_step restore_connect_socket, restore_connect_connection;
restore_step restore_commit_regular, restore_commit_fifo, restore_commit_socket, restore_commit_terminal;

/* The master within the process that this slave of a pseudo-terminal belongs to, or NULL. */
struct entry *restore_master_of(struct restoration *restoration, const struct entry *entry);

/* Checks and keeps a record of a lock; then takes them all. 0 or -1. */
int restore_add_lock(struct restoration *restoration, const void *payload, uint32_t length);
int restore_take_locks(struct restoration *restoration);

/* Whether `entry` is 0, 1 or 2 and becomes our own, even when it shares another's description. */
bool restore_is_stand_in(struct restoration *restoration, const struct entry *entry);

/* Copies our own 0, 1 or 2. */
int restore_stand_in(struct restoration *restoration, struct entry *entry, int own);

#endif
