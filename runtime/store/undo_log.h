/*
 * The undo log: how files were before they were changed, since the checkpoint.
 *
 * Two files in the store, `undo0` and `undo1`. Each begins with a struct undo_head; records follow
 * without gaps. A checkpoint's manifest says where in the log the records begin that lead back to
 * it (struct manifest_undo): all that follow there, then all of the file with the next generation.
 * At a stop the log goes on in the other file, provided no checkpoint needs that one any more; when the
 * checkpoint of that stop has committed, the first file is free.
 *
 * The log ends where a record does not validate: the id is drawn at random for each run and
 * repeated in every record with the generation, so bytes of an earlier use never do.
 *
 * Errors are -errno. Raw system calls only. One thread at a time; rt_undo_log_turn() and
 * rt_undo_log_committed() on the checkpoint thread, the former in the stop.
 */
#ifndef RT_STORE_UNDO_LOG_H
#define RT_STORE_UNDO_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manifest.h"
#include "store/persist.h"

#define UNDO_LOG_BYTES PERSIST_SEGMENT_BYTES /* of one file, at most: what one epoch may change */
#define UNDO_LOG_RESERVE (4UL << 20)         /* of these, for restore alone */
#define UNDO_LOG_MAGIC 0x676f6c6f646e5552UL  /* "RUndolog" */

struct undo_head {
	uint64_t magic;
	uint64_t id;         /* of the run */
	uint64_t generation; /* counts the files in the order of their use, from 1 */
	uint64_t checksum;   /* XXH3_64bits of the above */
	uint64_t lost;       /* end of the log when a change could not be recorded; 0: never */
};

enum undo_kind {
	UNDO_FILE = 1,     /* (device, inode) is the file `path` and had `size` bytes: for the UNDO_BYTES that
			    * follow; what is longer is cut */
	UNDO_BYTES = 2,    /* the data stood at `offset` of file (device, inode) */
	UNDO_ABSENT = 3,   /* there was no `path`; it may have been made, see UNDO_CREATED */
	UNDO_CREATED = 4,  /* `path`, (device, inode), has been made */
	UNDO_REMOVED = 5,  /* `path` was (device, inode), with this mode, owner, times and, for a file, this
			    * data; the data of a symbolic link is its target, without terminator */
	UNDO_RENAMED = 6,  /* `path` was (device, inode), and became `target` */
	UNDO_REPLACED = 7, /* by restore number `offset`: what was `inode` has been made again and is `size` */
	UNDO_UNDONE = 8,   /* by restore number `inode`: all from byte `offset` of generation `size` on up to
			    * here has been undone, and is never looked at again */
	UNDO_KINDS
};

enum undo_flag {
	UNDO_EXCHANGED = 1, /* RENAMED: `target` was inode `size`, and became `path` */
	UNDO_LINKED = 2,    /* REMOVED: the file has other names, one of which may be `target` */
	UNDO_FILLED = 4,    /* ABSENT: what may have been made in the place of it has contents from the start */
};

/* Followed by path, target, both with terminator, padding to 8, the data, padding to 8. Paths are absolute. */
struct undo_record {
	uint64_t checksum;       /* XXH3_64bits of what follows, to the end of the record */
	uint64_t id, generation; /* those of the head */
	uint64_t length;         /* bytes of all of it; a multiple of 8 */
	uint32_t kind;           /* enum undo_kind */
	uint32_t flags;          /* bits of enum undo_flag */
	uint64_t device, inode;
	uint64_t parent;                     /* inode of the directory `path` is in */
	uint64_t target_parent;              /* inode of the directory `target` is in */
	uint64_t offset;                     /* bytes */
	uint64_t size;                       /* bytes, see above */
	uint64_t device_number;              /* st_rdev of a device */
	int64_t time_ns;                     /* CLOCK_REALTIME_COARSE when it was made */
	int64_t access_ns, modify_ns;        /* st_atim, st_mtim */
	uint32_t mode, user, group;          /* st_mode, st_uid, st_gid */
	uint32_t path_length, target_length; /* with terminator; 0: none */
	uint32_t zero;
	uint64_t data_length; /* bytes */
};

struct undo_log {
	struct persist_file files[2];
	uint64_t id;
	uint64_t generation[2]; /* 0: the file holds nothing */
	uint64_t end[2];        /* where the next record goes */
	uint64_t committed;     /* generation where the records of the committed checkpoint begin */
	unsigned current;       /* the file that is written */
	uint64_t limit;         /* bytes of a file, at most UNDO_LOG_BYTES */
};

/* Opens both files in the store's directory, making them when they are missing. Descriptors are
 * close-on-exec and not below `lowest_fd`. Follow it with one of the next two. Restore sets log->limit
 * to UNDO_LOG_BYTES. */
int rt_undo_log_open(const char *directory, enum persist_kind kind, int lowest_fd, struct undo_log *log);
void rt_undo_log_close(struct undo_log *log);

/* Opens both files to read them only, whatever they are. rt_undo_log_continue() tells whether they are a log. */
int rt_undo_log_look(const char *directory, struct undo_log *log);

/* An empty log under a new id. */
int rt_undo_log_reset(struct undo_log *log);

/* The same when the files were changed by others: their mappings are made anew. 0 or -errno. */
int rt_undo_log_start_over(struct undo_log *log);

/* The log to which `position` belongs, as far as it validates; goes on at its end. -EBADMSG: the file that
 * must be there is not, or is damaged. */
int rt_undo_log_continue(struct undo_log *log, const struct manifest_undo *position);

/* Room for a record of so many bytes at the end of the log: the caller puts there what follows the struct. NULL and
 * *error: -EFBIG when the file would become too long, -ENOSPC. Asking again for more keeps what was put there. */
void *rt_undo_log_room(struct undo_log *log, size_t bytes, int *error);

/* Puts the struct in front of it, and seals the record: durable when it returns 0. */
int rt_undo_log_append(struct undo_log *log, const struct undo_record *record);

/* A change could not be recorded. */
void rt_undo_log_note_loss(struct undo_log *log);

/* In the stop: where the records begin that will lead back to this stop. */
struct manifest_undo rt_undo_log_turn(struct undo_log *log);

/* Makes what the last turn began durable. Before the commit of a checkpoint that says the records begin there. */
int rt_undo_log_drain(struct undo_log *log);

/* What led back further than the committed checkpoint is not needed any more. */
void rt_undo_log_committed(struct undo_log *log, const struct manifest_undo *position);

/* ---- reading ---- */

struct undo_cursor {
	uint64_t generation, offset;
};

/* The next record, NULL after the last; *cursor begins as the manifest says. All lengths are checked. */
const struct undo_record *rt_undo_log_next(const struct undo_log *log, struct undo_cursor *cursor);

/* Whether anything after `position` was lost. */
bool rt_undo_log_has_loss(const struct undo_log *log, const struct manifest_undo *position);

static inline const char *undo_path(const struct undo_record *record)
{
	return record->path_length ? (const char *)(record + 1) : "";
}

static inline const char *undo_target(const struct undo_record *record)
{
	return record->target_length ? (const char *)(record + 1) + record->path_length : "";
}

static inline size_t undo_data_offset(const struct undo_record *record)
{
	return sizeof(*record) + (((size_t)record->path_length + record->target_length + 7) & ~(size_t)7);
}

static inline const uint8_t *undo_data(const struct undo_record *record)
{
	return (const uint8_t *)record + undo_data_offset(record);
}

#endif
