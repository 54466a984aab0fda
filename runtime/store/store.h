/*
 * The store: the directory that holds the checkpoints.
 *
 * A store holds exactly one committed checkpoint at any instant once the first has committed:
 * a set of pages (virtual page address -> 4096 bytes) and a manifest. Each epoch appends its
 * dirty pages to the page log, then one commit record makes them the checkpoint; later the
 * newest version of each page moves to home and the log is reused. On-media layout: format.h.
 *
 * Error convention: 0 or -errno; -EBADMSG for damaged contents. Thread-safety: one thread at a
 * time per store. The writing half runs on the checkpoint thread while program threads are
 * parked: raw system calls and rt_memory_* only (no malloc, no errno, no stdio, no TLS).
 */
#ifndef RT_STORE_H
#define RT_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist.h"

struct store;

enum store_durability {
	STORE_DURABILITY_PROCESS = 0, /* survives the death of the process */
	STORE_DURABILITY_POWER = 1,   /* survives loss of power and CPU caches */
};

/* What a store holds, as the superblock and the newest valid commit record say. */
enum store_state {
	STORE_EMPTY = 0,   /* created, nothing committed yet */
	STORE_RUNNING = 1, /* holds a checkpoint; its process lives or crashed */
	STORE_ENDED = 2,   /* the program ended by itself, see exit_status */
};

struct store_status {
	enum store_state state;
	int32_t exit_status;     /* with STORE_ENDED: wait(2) status */
	int32_t owner_pid;       /* the process that last opened it for writing */
	uint64_t owner_start;    /* its start time, field 22 of /proc/PID/stat */
	uint64_t epoch;          /* number of the committed checkpoint, 0: none */
	int64_t commit_time_ns;  /* CLOCK_REALTIME of that commit */
	uint64_t page_count;     /* pages in that checkpoint */
	uint64_t bytes_on_media; /* blocks allocated to all files of the store, bytes */
	enum store_durability durability;
	bool is_pmem;  /* on persistent memory, mapped with MAP_SYNC */
	uint32_t user; /* whose files they are */
};

/* Creates the directory `path` (0700) if it is missing and an empty store in it, files 0600.
 * -EEXIST when a store is there already; see rt_store_clear(). */
int rt_store_create(const char *path, enum store_durability durability);

/* Opens an existing store. With `writable`, takes the lock (fcntl write lock on DIR/lock, released by
 * the kernel when the process dies, not inherited by fork): -EBUSY, *holder set to the pid, when
 * another process has it. -EACCES when the directory or a file is not owned by the caller's
 * effective uid (root may open anybody's for reading) or is writable by others. -EBADMSG when damaged,
 * -EPROTO when its format version, byte order or page size is another. A read-only open takes no lock,
 * changes nothing and recovers the checkpoint in memory. A writable open brings home up to
 * date, so that the log is empty. *result is in runtime memory until rt_store_close(). All
 * descriptors are close-on-exec and not below `lowest_fd`. */
int rt_store_open(const char *path, bool writable, int lowest_fd, struct store **result, int *holder);
void rt_store_close(struct store *store);

/* Opens another file of the directory, DIR/NAME, with the same checks: nothing but a regular file of the caller's own is
 * opened, or cut by O_TRUNC; with O_CREAT it is made, 0600. Waits for nothing. The descriptor, or -errno and
 * rt_store_problem(). */
int rt_store_open_file(const char *directory, const char *name, int flags, int lowest_fd);

/* A sentence saying what is wrong with the store after a failed open ("page at 0x...: checksum
 * differs"), in a static buffer of the calling process; never NULL. */
const char *rt_store_problem(void);

/* Removes every checkpoint: state STORE_EMPTY. The crash-safe start of a fresh run. */
int rt_store_clear(struct store *store);

void rt_store_status(struct store *store, struct store_status *status);

/* Whether a commit survives a loss of power, too. Any thread. */
bool rt_store_survives_power(const struct store *store);

/* How mapped files beside those of the store are made durable in the same way. Any thread. */
enum persist_kind rt_store_persist_kind(const struct store *store);

/*
 * Whether the files of a store that is open for writing are still what they were: 0; -ESTALE when one has no name any
 * more, so that nobody can find what is written to it; -EBADMSG when one was made shorter, or
 * rt_store_note_fault() was called. Begin, commit and settle look, too.
 */
int rt_store_look(struct store *store);

/* A mapping of the store was accessed where its file has ended. In a signal handler. */
void rt_store_note_fault(struct store *store);

/* After -EBADMSG: a new, empty store in the same files. */
int rt_store_start_over(struct store *store);

/* After -ESTALE: gives back what the files without a name take. */
void rt_store_give_up(struct store *store);

/* Records who writes it now. */
int rt_store_set_owner(struct store *store, int32_t pid, uint64_t start_time);

/* Records a normal end; keeps nothing to restore. */
int rt_store_set_ended(struct store *store, int32_t exit_status);

/* The descriptors the store holds open, for the caller to hide from the program. Returns how
 * many, at most `capacity` written. */
size_t rt_store_descriptors(const struct store *store, int *fds, size_t capacity);

/* ---- an epoch: begin, any number of appends and drops, then commit or abort ---- */

/* Starts the epoch after the committed one. */
int rt_store_begin(struct store *store);

/* Makes room in the log for `pages` more, so that appends cannot fail with -ENOSPC. Called
 * before the threads are parked with an estimate; append grows the log itself when short. */
int rt_store_reserve(struct store *store, size_t pages);

/* Adds the page at virtual address `page` (4096-aligned) with these contents. A later append or
 * drop of the same page in the same epoch replaces this one. */
int rt_store_append(struct store *store, uint64_t page, const void *contents);

/* For contents the caller wants to fill itself (pre-copy by process_vm_readv): the address in
 * the log where the next page will go; then rt_store_append_slot() with the page's address,
 * which hashes what is there and adds it. Several slots may be taken at once: `count` adjacent
 * slots (at most 16384), then one call per slot in order with its index. NULL and *error when
 * the log can't grow (-ENOSPC) or slots are out already (-EINVAL). */
void *rt_store_slots(struct store *store, size_t count, int *error);
int rt_store_append_slot(struct store *store, size_t index, uint64_t page);
/* Ends the use of slots; those not appended are given back. */
void rt_store_slots_done(struct store *store);

/* The pages in [start, end) are no longer part of the image. O(pages stored there). */
int rt_store_drop(struct store *store, uint64_t start, uint64_t end);

/* Makes the epoch the checkpoint, atomically: when it returns 0 the new one is what recovery
 * finds; killed at any instant before or in it, the old one or the new one whole. After an error
 * the epoch is still open: abort it. -ENOSPC when its tables do not fit, -EFBIG for a manifest of
 * more than 1 GiB; any other error is that of the device, and may be final. */
int rt_store_commit(struct store *store, const void *manifest, size_t length, int64_t time_ns);

/* Forgets the epoch; the last committed checkpoint stays. The pages of the aborted epoch are
 * then missing from the store although they changed: *the caller* must append or drop them again
 * (rt_store_next_aborted() lists them, dropped ones too). */
void rt_store_abort(struct store *store);
/* First of them >= from. Only until the next begin. */
bool rt_store_next_aborted(struct store *store, uint64_t from, uint64_t *page);

/* Moves pages home and frees the log, when that is due (log larger than the pages at home, or
 * `force`). Off the critical path: call it while the program runs, after each commit and not in
 * an open epoch (-EBUSY). -ENOSPC leaves all valid. */
int rt_store_settle(struct store *store, bool force);

/* ---- looking at the image: committed pages plus those of the open epoch ---- */

/* First stored page >= from and < to; false when there is none. */
bool rt_store_next_page(struct store *store, uint64_t from, uint64_t to, uint64_t *page);

/* How many pages are stored in [start, end). */
uint64_t rt_store_count(struct store *store, uint64_t start, uint64_t end);

/* The newest contents of a stored page (4096 bytes, valid until the next call that changes the
 * store), or NULL when it is not stored. */
const void *rt_store_page(struct store *store, uint64_t page);

/* Where a page's newest contents lie: file descriptor and offset, for readers that use pread()
 * or mmap(). -ENOENT when not stored. */
int rt_store_locate(struct store *store, uint64_t page, int *fd, uint64_t *offset);

/* Checks the checksum of every stored page and of the manifest. -EBADMSG and rt_store_problem(). */
int rt_store_check(struct store *store);

/* The committed manifest, valid until the store changes. */
const void *rt_store_manifest(struct store *store, size_t *length);

#endif
