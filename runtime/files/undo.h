/*
 * Undoing what the program does to files: before a call changes a file or a name irreversibly, how it
 * was is saved in the undo log (store/undo_log.h), and restore puts it back.
 *
 * A wrapper opens a *section* around "save, then do it". In a section all signals are blocked, so no
 * checkpoint captures a thread between the two: what is in the log belongs to the epoch in which the
 * change is made. Sections are short: only regular files are changed in them, and nothing that can wait
 * (FIFOs, devices, sockets) keeps one open.
 *
 * Any program thread; errno is kept. In a process that is not protected, children included, nothing
 * is done.
 */
#ifndef RT_UNDO_H
#define RT_UNDO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "manifest.h"
#include "root.h"

struct engine;
struct rt_undo;

enum rt_undo_change {
	RT_UNDO_WRITE, /* fd, offset or RT_UNDO_HERE, length */
	RT_UNDO_CUT,   /* fd, length: ftruncate() */
	RT_UNDO_SHIFT, /* fd, offset: all behind is moved: fallocate() */
	RT_UNDO_MAP, /* fd, offset, length: mapped shared and writable; of larger mappings than RT_UNDO_MAP_LIMIT nothing */
	RT_UNDO_CUT_PATH,       /* directory, path, length: truncate() */
	RT_UNDO_OPEN,           /* directory, path, flags of open() */
	RT_UNDO_OPEN_SEMAPHORE, /* directory, path, flags: as OPEN, and the file is not empty when it gets its name */
	RT_UNDO_MAKE,           /* directory, path: anything new under a name */
	RT_UNDO_LINK,           /* directory, path: the old one; other_directory, other: the new one */
	RT_UNDO_REMOVE,         /* directory, path; length: of what is larger the contents are not saved; 0: no limit */
	RT_UNDO_RENAME,         /* directory, path; other_directory, other; flags of renameat2() */
};

#define RT_UNDO_HERE (-1L)            /* at the offset of the descriptor */
#define RT_UNDO_MAP_LIMIT (1UL << 20) /* bytes */

struct rt_undo_request {
	enum rt_undo_change change;
	int fd, flags;
	int directory, other_directory;
	const char *path, *other;
	int64_t offset;
	uint64_t length;
};

struct rt_undo_section {
	uint64_t mask; /* of signals, as it was */
	bool open;
	bool moves_directory; /* names of open files change */
	bool makes;           /* there was no such name: what is there afterwards is new */
};

/* A section that ends with the scope, also when the thread is cancelled in it. */
#define RT_UNDO_SECTION struct rt_undo_section __attribute__((cleanup(rt_undo_end)))

/* Slow half of rt_undo_before(). */
void rt_undo_save(struct rt_undo_section *section, const struct rt_undo_request *request);

/* Before the call: saves what it would destroy. The section stays open if there is anything to protect. */
static inline void rt_undo_before(struct rt_undo_section *section, const struct rt_undo_request *request)
{
	if (rt_root.engine != NULL)
		rt_undo_save(section, request);
}

/* After a call that has made something new: under which number or name it is there. `fd` < 0 and `path`
 * NULL: nothing was made. */
void rt_undo_made(struct rt_undo_section *section, int fd, int directory, const char *path);

void rt_undo_end(struct rt_undo_section *section);

/* ---- the engine's side ---- */

/* Opens the log; goes on with that of the committed checkpoint if there is one. At start and at resume.
 * NULL: nothing can be undone, said in one line. */
struct rt_undo *rt_undo_start(struct engine *engine);

/* Whether its files are still what they were: 0, or as rt_persist_look(). Checkpoint thread. */
int rt_undo_look(const struct engine *engine);

/* An empty log: there is no checkpoint any more. Checkpoint thread, while the program runs. 0 or -errno. */
int rt_undo_start_over(struct engine *engine);

/* Nothing is saved from now on. */
void rt_undo_give_up(struct engine *engine);

/* In the stop: where the records of the new epoch begin. */
void rt_undo_capture(struct engine *engine, struct manifest_writer *writer);

/* Makes durable what the checkpoint that was captured last says of the log. After resume, before its commit. */
int rt_undo_before_commit(struct engine *engine);

/* After the commit of what was captured last. */
void rt_undo_committed(struct engine *engine);

#endif
