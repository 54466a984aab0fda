/*
 * The persistence contract: how bytes get into the files of a store, and when they are there
 * for good. Nothing else in the store writes to a file or makes anything durable.
 *
 * A file is written in two ways: through its mapping (log, super: the caller may also fill mapped
 * bytes itself and then flush them), or by rt_persist_write() (home, index). After
 * rt_persist_drain() has returned 0, everything copied, flushed and written to that file before is
 * durable; before that, any part of it may or may not be. Bytes that were not drained survive the
 * death of the process all the same, in the order in which they were written.
 *
 * Errors are -errno. No libc but memcpy. The mapping of a growing file is made in segments; a
 * mapped address stays valid until rt_persist_close().
 */
#ifndef RT_STORE_PERSIST_H
#define RT_STORE_PERSIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PERSIST_SEGMENT_SHIFT 26
#define PERSIST_SEGMENT_BYTES (1UL << PERSIST_SEGMENT_SHIFT)

enum persist_kind {
	PERSIST_PROCESS, /* survives the process: the page cache is enough */
	PERSIST_SYNC,    /* survives power: fdatasync */
	PERSIST_PMEM,    /* survives power: non-temporal stores and fences, on a MAP_SYNC mapping */
};

struct persist_file {
	int fd; /* -1: not open */
	bool writable;
	bool map_sync;   /* map with MAP_SYNC */
	bool needs_sync; /* changed other than by stores to a MAP_SYNC mapping since the last drain */
	enum persist_kind kind;
	uint64_t size;            /* bytes; kept up to date by the functions below */
	uint64_t populated;       /* bytes whose page table entries were made beforehand */
	unsigned char **segments; /* address of each segment, NULL: not mapped */
	size_t segment_capacity;
};

/* What the tests see: each operation, after it was done. */
enum persist_event { PERSIST_STORED, PERSIST_WRITTEN, PERSIST_DRAINED, PERSIST_RESIZED, PERSIST_PUNCHED };
extern void (*rt_persist_observer)(enum persist_event event, const struct persist_file *file, uint64_t offset,
				   uint64_t length);

/* Looks for libpmem with dlopen(). Call it once at an ordinary start of the process (never in a
 * restored one, never on the checkpoint thread); without it persistent memory is drained by
 * fdatasync. 0, or -ENOENT when there is no libpmem. */
int rt_persist_load_libpmem(void);
bool rt_persist_has_libpmem(void);

/* Whether `fd` can be mapped with MAP_SYNC: it is on persistent memory. */
bool rt_persist_probe_pmem(int fd);

/* Maps [offset, offset + length), segment by segment, where it is not mapped yet. */
int rt_persist_map(struct persist_file *file, uint64_t offset, uint64_t length);

/* Address of a mapped offset; bytes up to the end of its segment follow. */
static inline void *rt_persist_address(const struct persist_file *file, uint64_t offset)
{
	return file->segments[offset >> PERSIST_SEGMENT_SHIFT] + (offset & (PERSIST_SEGMENT_BYTES - 1));
}

/* Stores into the mapping; the range is in one segment. */
void rt_persist_copy(struct persist_file *file, uint64_t offset, const void *source, size_t length);

/* Announces bytes the caller stored into the mapping itself; the range is in one segment. */
void rt_persist_flush(struct persist_file *file, uint64_t offset, size_t length);

/* Writes the buffers one after another at `offset`; changes `buffers`. -ENOSPC when full. */
int rt_persist_write(struct persist_file *file, uint64_t offset, struct iovec *buffers, size_t count);

/* Gives the file blocks up to `size`, so that stores to its mapping cannot fail. */
int rt_persist_grow(struct persist_file *file, uint64_t size);

/* Makes page table entries for [0, end) where cheap, so that stores do not fault. */
void rt_persist_populate(struct persist_file *file, uint64_t end);

/* Shortens the file. */
int rt_persist_cut(struct persist_file *file, uint64_t size);

/* Gives back the blocks of a range. */
int rt_persist_punch(struct persist_file *file, uint64_t offset, uint64_t length);

/* Makes everything before durable, as `kind` says. */
int rt_persist_drain(struct persist_file *file);

/* Reads exactly so many bytes, also of a file that is not mapped; -EBADMSG when it ends before. */
int rt_persist_read(const struct persist_file *file, void *buffer, size_t length, uint64_t offset);

/* Whether the file is still what it was: 0; -ESTALE when it has no name any more, -EBADMSG when somebody has made it
 * shorter. */
int rt_persist_look(const struct persist_file *file);

/* Unmaps it and takes the size that it has now: somebody else has changed it. 0 or -errno. */
int rt_persist_forget(struct persist_file *file);

/* Unmaps and closes. */
void rt_persist_close(struct persist_file *file);

/* ---- the directory; names are relative to it ---- */

/* A new file, or an old one emptied, with these contents, 0600. The contents are durable; the name is after
 * rt_persist_drain_directory(). */
int rt_persist_make_file(int directory, const char *name, const void *contents, size_t length);
int rt_persist_rename(int directory, const char *from, const char *to);

/* Makes the names durable. */
int rt_persist_drain_directory(int directory);

#endif
