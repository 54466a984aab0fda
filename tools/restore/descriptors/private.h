/*
 * Private to tools/restore/descriptors/.
 *
 * The phases, each over all descriptors: parse (a hostile manifest ends here), open (each is made
 * at a temporary high number; nothing outside the process changes), commit (files are cut back,
 * unix sockets bound, listening starts), place (at its number), attach (epoll interest lists).
 */
#ifndef RESTORE_DESCRIPTORS_PRIVATE_H
#define RESTORE_DESCRIPTORS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/descriptor/descriptor.h"

struct entry {
	struct manifest_descriptor record;
	const uint8_t *payload; /* record.payload_length bytes, 8-byte aligned */
	const char *name;       /* "" when there is none */
	int temporary;          /* where it is until it is placed; -1: not opened */
	bool stands_in;         /* temporary is a copy of our own 0, 1 or 2 */
	bool lost;              /* temporary is the descriptor that always fails */
};

/* A pipe or FIFO of the program: both ends, from which its descriptors are opened. */
struct made_pipe {
	uint64_t device, inode;
	int ends[2]; /* read, write; for a FIFO the same, open for both */
};

struct restoration {
	struct entry *entries; /* ascending by number */
	size_t count;
	struct made_pipe *pipes;
	size_t pipe_count;
	struct manifest_lock *locks;
	size_t lock_count;
	int base;        /* temporary numbers start here, above every number of the program */
	int keep_from;   /* open descriptors from here on are the caller\'s */
	int own[3];      /* copies of our 0, 1, 2 */
	int listener[2]; /* loopback listeners that make closed connections: IPv4, IPv6; -1: not made */
	int32_t pid;     /* of the program; 0: not in the manifest */
	char *problem;
	size_t problem_size;
};

/* Sets the problem and returns -1. */
int restore_refuse(struct restoration *restoration, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* One line on our stderr. */
void restore_warn(const struct restoration *restoration, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Moves a descriptor to a temporary number. -1 when there is none (and `fd` is closed). A
 * negative `fd` passes through. */
int restore_move_up(const struct restoration *restoration, int fd);

/* Makes `entry` a descriptor on which every operation fails; says so, with the reason. */
int restore_lose(struct restoration *restoration, struct entry *entry, const char *reason);

/* Opens /proc/self/fd/`fd` anew: the same object under a new open file description. */
int restore_reopen(int fd, int flags);

struct entry *restore_find(struct restoration *restoration, int number);

/* Calls `use` for each message at [start, end) of the payload. False when they are malformed or
 * `use` returned false. `use` may be NULL. */
bool restore_each_message(const struct entry *entry, size_t start,
			  bool (*use)(void *context, const void *bytes, size_t length), void *context);

/* The payload's fixed structure; parse has checked that it is there. */
#define PAYLOAD(entry, type) ((const type *)(const void *)(entry)->payload)

/* ---- phases ---- */

int restore_parse(struct restoration *restoration, const void *manifest, size_t length);
void restore_attach_epoll(struct restoration *restoration, const struct entry *entry);

typedef int restore_step(struct restoration *, struct entry *);

restore_step restore_open_regular, restore_open_deleted, restore_open_directory, restore_open_device,
	restore_open_path, restore_open_terminal, restore_open_master, restore_open_pipe;
restore_step restore_open_eventfd, restore_open_timerfd, restore_open_signalfd, restore_open_inotify,
	restore_open_epoll;
restore_step restore_open_socket, restore_open_pair, restore_open_connection;
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
