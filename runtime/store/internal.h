/*
 * What the files of the store share.
 *
 *   persist.c  bytes into files      directory.c  the files: names, owners, lock
 *   record.c   superblock, records   index.c      the in-memory index: address -> where, hash
 *   log.c      room and tails        epoch.c      begin, append, drop, commit, abort
 *   home.c     settle                recover.c    the index from the files, on open
 *   view.c     looking at the image  check.c      verifying every page
 *   create.c   an empty store        store.c      open, close, state
 */
#ifndef RT_STORE_INTERNAL_H
#define RT_STORE_INTERNAL_H

#include "base/fail.h"
#include "base/message.h"
#include "base/sys.h"
#include "format.h"
#include "persist.h"
#include "store.h"

#define SLOT_HOME UINT32_MAX  /* not in the log: at home */
#define ENTRY_NONE UINT32_MAX /* has no chunk of home yet */
#define NO_PAGE 512U

#define LOG_STEP_BYTES (16UL << 20)
#define SETTLE_BYTES_MIN (16UL << 20)

/* Where a page is and what it should be; together, because they are used together. */
struct page_state {
	uint64_t hash;
	uint64_t committed_hash;
	uint32_t slot; /* log slot or SLOT_HOME; means nothing unless present */
	uint32_t committed_slot;
};

/* Everything known about the 512 pages of one 2 MiB stretch of addresses. `present`, `slot` and
 * `hash` are the image as it is now, the open epoch included. A bit in `touched` says that the
 * page was appended or dropped in the open epoch, and that the committed_* hold what it was.
 * After an abort `touched` are the aborted pages, until the next begin. */
struct chunk {
	uint64_t address;
	struct chunk *next_in_epoch;
	struct chunk *next_unsettled;
	uint32_t entry; /* its chunk of home, or ENTRY_NONE */
	bool in_epoch;  /* on the list of chunks with touched pages */
	bool unsettled; /* on the list of chunks that differ from their index slot */
	uint64_t present[PAGE_MAP_WORDS];
	uint64_t touched[PAGE_MAP_WORDS];
	uint64_t committed_present[PAGE_MAP_WORDS];
	uint64_t home_present[PAGE_MAP_WORDS]; /* as in the index slot in use */
	struct page_state pages[HOME_CHUNK_PAGES];
};

/* An entry of the index file. */
struct entry {
	bool used;          /* a chunk owns it; otherwise free */
	bool stale;         /* its slot not in use holds the future of a settle that never committed */
	unsigned char side; /* the index slot in use, 0 or 1; 1 in a new entry, so that 0 is written */
};

#define INDEX_FANOUT 8192UL /* 13 bits of chunk number per level, 26 in all: 47 bits of address */

struct index_leaf {
	uint64_t count; /* chunks in it */
	struct chunk *chunks[INDEX_FANOUT];
};

enum phase {
	PHASE_IDLE,
	PHASE_OPEN,    /* between begin and commit or abort */
	PHASE_ABORTED, /* the touched bits are those of the aborted epoch */
};

struct store {
	struct persist_file super, log, home, index;
	int lock_fd;
	bool writable;
	bool is_pmem;
	bool mirrored;     /* both pages of super hold `record` */
	bool gaps_unknown; /* a settle that did not end may have left blocks in home for pages that are not present */
	int failed;        /* -errno while it is unknown what the record page not in use holds: nothing that a record
			* there may refer to must be written over */
	uint32_t faulted;  /* a mapping of a file was accessed where the file has ended; set by signal handlers */
	int record_page;   /* 0 or 1: where `record` is */
	enum phase phase;
	enum store_durability durability;
	uint64_t last_sequence; /* the highest that was ever written, that of a record that failed included */
	uint64_t store_id;
	struct commit_record record; /* the newest */

	/* in-memory index */
	struct index_leaf **leaves; /* INDEX_FANOUT of them */
	struct chunk *last_chunk;   /* the one found last */
	struct chunk *free_chunks;  /* linked by next_in_epoch */
	struct chunk_slab *slabs;
	uint64_t chunk_count;
	uint64_t chunk_limit; /* 0: none; while recovering, what the size of the files justifies */
	uint64_t page_count;  /* in the image as it is now */
	struct chunk *epoch_chunks;
	struct chunk *unsettled_chunks;

	/* entries of the index file */
	struct entry *entries;
	uint64_t entry_count;
	uint64_t entry_capacity;
	uint64_t free_entries;
	uint64_t free_entry_hint; /* no free entry below */
	uint64_t stale_entries;

	/* page log, bytes */
	uint64_t log_end;       /* end of what the record refers to, page aligned */
	uint64_t log_cursor;    /* where the open epoch's next page goes */
	uint64_t slots_start;   /* of the slots handed out by rt_store_slots() */
	uint64_t slots_count;   /* 0: none out */
	uint64_t slots_used;    /* highest index appended + 1 */
	uint64_t largest_epoch; /* log bytes of the largest epoch since the last settle */

	unsigned char *manifest; /* the committed one */
	uint64_t manifest_length;
	uint64_t manifest_capacity;

	/* scratch */
	struct iovec vectors[HOME_CHUNK_PAGES];
	struct index_slot index_slots[2];
	unsigned char piece[TAIL_PIECE_BYTES] __attribute__((aligned(64)));
};

/* ---- problem text, store.c ---- */

extern char rt_store_problem_text[256];
#define rt_store_explain(...) rt_format(rt_store_problem_text, sizeof(rt_store_problem_text), __VA_ARGS__)

/* Says what is damaged; the value is -EBADMSG. */
#define rt_store_damaged(...) (rt_store_explain(__VA_ARGS__), -EBADMSG)

/* ---- store.c ---- */

/* Nothing open yet; NULL when there is no memory. rt_store_close() ends it. */
struct store *rt_store_new(bool writable);

/* ---- hash.c ---- */

uint64_t rt_store_hash(const void *bytes, size_t length);
uint64_t rt_store_hash_page(const void *page);
uint64_t rt_store_hash_page_avx2(const void *page);
uint64_t rt_store_hash_piece(const void *piece, size_t length, uint64_t so_far);

/* ---- directory.c ---- */

int rt_store_open_directory(const char *path, bool create, bool writable);
int rt_store_open_files(struct store *store, int directory, int lowest_fd);
/* Reads the files' sizes again, once the lock keeps others from changing them. */
int rt_store_refresh_sizes(struct store *store);
/* -EEXIST when the directory holds a store. */
int rt_store_exists(int directory);
/* -ENOTEMPTY when the directory holds what creating a store in it would overwrite; what a crash in that leaves is empty. */
int rt_store_has_others(int directory);
int rt_store_take_lock(struct store *store, int directory, int lowest_fd, bool create, int *holder);

/* ---- record.c ---- */

int rt_store_random(uint64_t *value);
void rt_store_compose_super(unsigned char *bytes, enum store_durability durability, uint64_t store_id, uint64_t run_id);
int rt_store_read_super(struct store *store);

/* Makes `record` (all but magic, ids, sequence and checksum filled in) the newest: durable when it returns 0.
 */
int rt_store_write_record(struct store *store, const struct commit_record *record);
/* After a record that failed: takes it back, so that its epoch's place in the log may be used again. */
int rt_store_mend(struct store *store);
/* Copies the newest record to the other page, too. */
int rt_store_mirror_record(struct store *store);

/* ---- index.c ---- */

struct chunk *rt_store_find_chunk(struct store *store, uint64_t address);
/* Finds or makes it; NULL and *error when that fails. */
struct chunk *rt_store_get_chunk(struct store *store, uint64_t address, int *error);
/* First chunk that ends above `from` and starts below `to`. */
struct chunk *rt_store_next_chunk(struct store *store, uint64_t from, uint64_t to);
/* Forgets a chunk nothing refers to. */
void rt_store_release_chunk(struct store *store, struct chunk *chunk);
bool rt_store_chunk_is_empty(const struct chunk *chunk);
void rt_store_mark_unsettled(struct store *store, struct chunk *chunk);
void rt_store_clear_index(struct store *store);
void rt_store_free_index(struct store *store);

static inline bool page_map_has(const uint64_t *map, unsigned page)
{
	return (map[page / 64] >> (page % 64)) & 1;
}

static inline void page_map_add(uint64_t *map, unsigned page)
{
	map[page / 64] |= 1UL << (page % 64);
}

static inline void page_map_remove(uint64_t *map, unsigned page)
{
	map[page / 64] &= ~(1UL << (page % 64));
}

static inline unsigned page_of(uint64_t address)
{
	return (unsigned)(address >> RT_PAGE_SHIFT) % HOME_CHUNK_PAGES;
}

/* First set page >= from, or NO_PAGE. */
unsigned rt_page_map_next(const uint64_t *map, unsigned from);
/* First run of set pages at or after *first: false when there is none. */
bool rt_page_map_next_run(const uint64_t *map, unsigned *first, unsigned *count);
unsigned rt_page_map_count(const uint64_t *map);
/* The pages of the chunk at `address` that lie in [start, end). */
void rt_page_map_range(uint64_t *map, uint64_t address, uint64_t start, uint64_t end);

/* ---- log.c ---- */

/* Makes the log reach `end`, mapped. */
int rt_store_log_reach(struct store *store, uint64_t end);
/* Takes `count` adjacent slots (one segment holds at most 16384). */
int rt_store_log_take(struct store *store, uint64_t count, uint64_t *offset);
static inline void *rt_store_log_page(const struct store *store, uint32_t slot)
{
	return rt_persist_address(&store->log, (uint64_t)slot << RT_PAGE_SHIFT);
}
/* Bytes that the tail of the open epoch takes with such a manifest. */
uint64_t rt_store_tail_length(struct store *store, struct epoch_tail *tail, uint64_t manifest_length);
/* Writes a tail at `offset`, where there is room, with the rows of the epoch list when tail says so. */
void rt_store_write_tail(struct store *store, const struct epoch_tail *tail, uint64_t offset, const void *manifest,
			 struct tail_link *link);
/* Shortens the log file to what it is likely to need. */
void rt_store_log_trim(struct store *store, bool to_minimum);
int rt_store_keep_manifest_room(struct store *store, uint64_t length);

/* ---- home.c ---- */

int rt_store_new_entry(struct store *store, uint32_t *entry);
int rt_store_entries_reserve(struct store *store, uint64_t count);
/* Punches everything in home that is not present; after a crash between settle and punching. */
void rt_store_punch_gaps(struct store *store);

/* ---- epoch.c ---- */

void rt_store_drop_range(struct store *store, uint64_t start, uint64_t end,
			 void (*drop)(struct store *, struct chunk *, unsigned page));
void rt_store_forget_epoch(struct store *store);

/* ---- recover.c ---- */

int rt_store_recover(struct store *store);
/* Hashes a tail as it is in the file and reads its head; -EBADMSG when it is not what `link` says. */
int rt_store_verify_tail(struct store *store, const struct tail_link *link, struct epoch_tail *tail);

#endif
