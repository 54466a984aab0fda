/*
 * What lies in the files of a store. Everything is little endian, offsets and lengths are bytes.
 *
 *   lock    empty; its fcntl write lock is held by the one process that writes the store
 *   super   page 0: struct superblock; pages 1 and 2: struct commit_record, one each
 *   log     the page log: 4 KiB slots holding pages, and after the pages of each epoch its tail
 *   home    chunk i, bytes [i, i + 1) * 2 MiB: the pages of one 2 MiB stretch of addresses, each
 *           at its own offset in the stretch; sparse
 *   index   entry i: two struct index_slot, which say what chunk i of home holds
 *
 * The checkpoint is: home as of `home_epoch`, overlaid by the epochs home_epoch + 1 .. epoch of
 * the log. The valid commit record with the highest sequence says which they are. It is the only
 * thing ever overwritten that counts, and there are two of it:
 *
 *   commit   pages and tail go to free log space, then are made durable; then the record that
 *            points at the tail is written over the older of the two records.
 *   settle   home pages are overwritten in place: harmless, the log supersedes each of them until
 *            home_epoch moves. Each changed entry's index slot that is *not* in use is written.
 *            The manifest is copied to free log space as the tail of an epoch without rows. All
 *            durable: record with home_epoch = epoch. From then on the log below that tail is
 *            free: the tail is copied to offset 0, and a second record points there.
 *   clear    record with a new run id and nothing in it.
 *
 * The store id (drawn at creation) and the run id (drawn again at each clear) are repeated in
 * every structure, so that bytes of an earlier life never validate.
 *
 * When a record is durable, a copy of it goes to the other page of `super` as well (at once with
 * durability `process`, at the next settle with `power`), so that damage to one page loses nothing.
 *
 * A checksum is XXH3_64bits of the bytes of the structure before it. The hash of a tail is
 * XXH3_64bits_withSeed over its pieces of 64 KiB, each seeded with the hash so far (first: 0).
 */
#ifndef RT_STORE_FORMAT_H
#define RT_STORE_FORMAT_H

#include <stdint.h>

#define STORE_FORMAT_VERSION 9 /* raised by any change here or in manifest.h */
#define STORE_BYTE_ORDER 0x01020304U
#define STORE_PAGE_SIZE 4096UL

#define SUPERBLOCK_MAGIC 0x7265707573504352UL    /* "RCPsuper" */
#define COMMIT_RECORD_MAGIC 0x74696d6d6f634352UL /* "RCcommit" */
#define EPOCH_TAIL_MAGIC 0x6c69617468635052UL    /* "RPchtail" */
#define INDEX_SLOT_MAGIC 0x7865646e69504352UL    /* "RCPindex" */

#define SUPER_FILE_BYTES (3 * STORE_PAGE_SIZE)

#define HOME_CHUNK_SHIFT 21
#define HOME_CHUNK_BYTES (1UL << HOME_CHUNK_SHIFT)
#define HOME_CHUNK_PAGES 512
#define PAGE_MAP_WORDS (HOME_CHUNK_PAGES / 64)

#define INDEX_SLOT_BYTES 4608UL /* sizeof(struct index_slot) up to whole sectors of 512 */
#define INDEX_ENTRY_BYTES (2 * INDEX_SLOT_BYTES)

#define TAIL_PIECE_BYTES 65536UL

#define STORE_ADDRESS_END (1UL << 47)    /* pages lie below */
#define STORE_MANIFEST_LIMIT (1UL << 30) /* bytes, a longer manifest is refused */

/* Written once, by rt_store_create(). */
struct superblock {
	uint64_t magic;
	uint32_t version;    /* STORE_FORMAT_VERSION */
	uint32_t byte_order; /* STORE_BYTE_ORDER as the writer's machine stores it */
	uint32_t page_size;  /* STORE_PAGE_SIZE */
	uint32_t durability; /* enum store_durability */
	uint64_t store_id;   /* random */
	uint64_t checksum;
};

/* Where an epoch's tail lies. length 0: there is none. */
struct tail_link {
	uint64_t offset; /* in log; a multiple of 4096 */
	uint64_t length; /* bytes of header, rows and manifest */
	uint64_t hash;   /* of these bytes */
};

enum {
	RECORD_HOLES_PENDING = 1, /* home may still hold blocks of pages that are not present */
};

/* Written by commit, settle, set_owner, set_ended and clear; see above for the order. */
struct commit_record {
	uint64_t magic;
	uint64_t store_id;
	uint64_t run_id;        /* random; tails and index slots with another one are void */
	uint64_t sequence;      /* number of this record, from 1; the two pages may hold the same one */
	uint64_t epoch;         /* the committed checkpoint; 0: none */
	uint64_t home_epoch;    /* home and index hold this one; <= epoch */
	struct tail_link tail;  /* of `epoch`; its end is the end of the log in use */
	uint64_t index_entries; /* entries of index (and chunks of home) in use or free for reuse */
	uint64_t page_count;    /* pages in the checkpoint */
	int64_t commit_time_ns; /* CLOCK_REALTIME given to the commit */
	uint64_t owner_start;   /* field 22 of /proc/PID/stat of owner_pid */
	int32_t owner_pid;      /* process that last opened it for writing */
	int32_t exit_status;    /* wait(2) status when state is STORE_ENDED */
	uint32_t state;         /* enum store_state */
	uint32_t flags;         /* RECORD_HOLES_PENDING */
	uint64_t checksum;
};

/* Head of an epoch's tail, written by commit after the epoch's pages, on a page boundary. Behind
 * it without gaps: page_rows * struct page_row, drop_rows * struct drop_row, the manifest. A page
 * is in at most one row; the rows of an epoch are in no order. */
struct epoch_tail {
	uint64_t magic;
	uint64_t run_id;
	uint64_t epoch;
	struct tail_link previous; /* tail of epoch - 1, at a lower offset; followed while > home_epoch */
	uint64_t page_rows;
	uint64_t drop_rows;
	uint64_t manifest_length; /* bytes */
};

/* The newest contents in this epoch of one page. */
struct page_row {
	uint64_t address; /* multiple of 4096 */
	uint64_t slot;    /* contents are at slot * 4096 in log, below the tail */
	uint64_t hash;    /* XXH3_64bits of the contents */
};

/* Pages that left the image in this epoch; within one stretch of 2 MiB. */
struct drop_row {
	uint64_t start; /* multiple of 4096 */
	uint64_t end;   /* multiple of 4096, > start */
};

/* What one chunk of home holds. Of an entry's two slots, the valid one with the highest
 * epoch <= home_epoch counts. A settle writes the other one; the first slot of a new entry is
 * slot 0. With no page present the entry is free, and `address` means nothing. */
struct index_slot {
	uint64_t magic;
	uint64_t run_id;
	uint64_t epoch;                   /* of the settle that wrote it */
	uint64_t address;                 /* of the first page; multiple of 2 MiB; unique among entries in use */
	uint64_t present[PAGE_MAP_WORDS]; /* bit i % 64 of word i / 64: page i is at home */
	uint64_t hash[HOME_CHUNK_PAGES];  /* of page i's contents; 0 when not present */
	uint64_t checksum;
};

#endif
