/*
 * Fail points: named steps at which a test has the process killed or stopped, or the step fail.
 *
 *   RESPCT_FAIL=POINT:ACTION[:FIRST[:TIMES]][,POINT:ACTION...]
 *
 * ACTION happens when POINT is reached for the FIRST time (1: at once), and TIMES times in all (1; 0: from
 * then on always). POINT is a name from the table below, or `any`: then the points are counted together.
 * `kill` and `stop` send SIGKILL or SIGSTOP to the process, right there; the others make the step return that
 * error as if the kernel had. A point at which nothing can fail takes no errors. Each of several settings counts
 * by itself; the first one whose turn it is acts.
 *
 * The variable is read once, by the library at start and by respct-restore. The program that
 * respct-restore brings back takes over what is left of it: so points of the restore, of the resume and of
 * the checkpoints after it are reached in one count. Without the variable a point costs one load and a
 * branch that is never taken; there is none on the way of a lock, an allocation or a fault.
 *
 * A new point is a line in the table and rt_fail() at its place: the tests (tests/e2e/faults.c) and
 * `respct crash --mode commit` then go to it by themselves.
 */
#ifndef RT_FAIL_H
#define RT_FAIL_H

#include <errno.h>
#include <signal.h>
#include <stdint.h>

#include "sys.h"

#define RT_FAIL_VARIABLE "RESPCT_FAIL"

/* What an error at a point does. */
enum rt_fail_effect {
	FAIL_NOTHING,  /* none can happen there */
	FAIL_SUSPENDS, /* protection stops until the step succeeds */
	FAIL_GOES_BY,  /* the step can do without: no line, protection goes on */
	FAIL_REFUSES,  /* the restore ends with one line and status 125 */
};

/*
 * identifier, name, effect of an error, the error that is most like it.
 *
 * In the order in which they are reached. checkpoint.*: the checkpoint thread; commit.*, record.*, settle.*: the
 * store; store.*, memory.*: the system calls below it; undo.*: program threads that change files; end.*: the
 * program ends; restore.*: respct-restore; restorer.*: in the address space in the making; resume.*: in the
 * image again.
 */
/* clang-format off: a table */
#define RT_FAIL_POINTS(POINT)                                                                                        \
	POINT(CHECKPOINT_BEGIN, "checkpoint.begin", FAIL_SUSPENDS)       /* before the epoch begins */               \
	POINT(CHECKPOINT_COPY, "checkpoint.copy", FAIL_SUSPENDS)         /* before the pre-copy */                   \
	POINT(CHECKPOINT_PREPARE, "checkpoint.prepare", FAIL_SUSPENDS)   /* before the log gets room */              \
	POINT(CHECKPOINT_STOP, "checkpoint.stop", FAIL_SUSPENDS)         /* before the threads are stopped */        \
	POINT(CHECKPOINT_CAPTURE, "checkpoint.capture", FAIL_SUSPENDS)   /* they are */                              \
	POINT(CHECKPOINT_DESCRIBE, "checkpoint.describe", FAIL_SUSPENDS) /* memory is captured, nothing else yet */  \
	POINT(CHECKPOINT_CAPTURED, "checkpoint.captured", FAIL_SUSPENDS) /* all is, the threads are still stopped */ \
	POINT(CHECKPOINT_RESUMED, "checkpoint.resumed", FAIL_SUSPENDS)   /* they run again */                        \
	POINT(COMMIT_BEGIN, "commit.begin", FAIL_SUSPENDS)               /* before there is room for the tail */     \
	POINT(COMMIT_TAIL, "commit.tail", FAIL_SUSPENDS)                 /* before the tail is written */            \
	POINT(COMMIT_DRAIN, "commit.drain", FAIL_SUSPENDS)               /* before the log is drained */             \
	POINT(COMMIT_RECORD, "commit.record", FAIL_SUSPENDS)             /* before the record is written */          \
	POINT(RECORD_STORED, "record.stored", FAIL_SUSPENDS)             /* a record is stored, not drained */       \
	POINT(RECORD_DRAINED, "record.drained", FAIL_NOTHING)            /* it is; the other page has the old one */ \
	POINT(COMMIT_DONE, "commit.done", FAIL_NOTHING)                  /* the checkpoint is committed */           \
	POINT(CHECKPOINT_DONE, "checkpoint.done", FAIL_NOTHING)          /* and everybody knows */                   \
	POINT(SETTLE_BEGIN, "settle.begin", FAIL_SUSPENDS)               /* pages are due to move home */            \
	POINT(SETTLE_CHUNK, "settle.chunk", FAIL_SUSPENDS)               /* before the pages of each chunk */        \
	POINT(SETTLE_DRAIN, "settle.drain", FAIL_SUSPENDS)               /* all pages written, none drained */       \
	POINT(SETTLE_SLOT, "settle.slot", FAIL_SUSPENDS)                 /* before each slot of the index */         \
	POINT(SETTLE_INDEX, "settle.index", FAIL_SUSPENDS)               /* before the index is drained */           \
	POINT(SETTLE_RECORD, "settle.record", FAIL_SUSPENDS)             /* before the record that makes it count */ \
	POINT(SETTLE_HOLES, "settle.holes", FAIL_NOTHING)                /* before blocks are given back */          \
	POINT(SETTLE_REWIND, "settle.rewind", FAIL_SUSPENDS)             /* before the log starts anew */            \
	POINT(SETTLE_TRIM, "settle.trim", FAIL_NOTHING)                  /* before the log gets shorter */           \
	POINT(SETTLE_DONE, "settle.done", FAIL_NOTHING)                                                              \
	POINT(STORE_MAP, "store.map", FAIL_SUSPENDS)     /* mapping a piece of a file */                             \
	POINT(STORE_GROW, "store.grow", FAIL_SUSPENDS)   /* giving a file blocks */                                  \
	POINT(STORE_WRITE, "store.write", FAIL_SUSPENDS) /* writing to home or index */                              \
	POINT(STORE_DRAIN, "store.drain", FAIL_SUSPENDS) /* fdatasync; reached with either durability */             \
	POINT(STORE_CUT, "store.cut", FAIL_GOES_BY)      /* making a file shorter */                                 \
	POINT(STORE_PUNCH, "store.punch", FAIL_GOES_BY)  /* giving blocks back */                                    \
	POINT(MEMORY_MAP, "memory.map", FAIL_SUSPENDS)   /* memory of the runtime */                                 \
	POINT(MEMORY_GROW, "memory.grow", FAIL_SUSPENDS) /* more of it */                                            \
	POINT(MEMORY_FILE, "memory.file", FAIL_SUSPENDS) /* mapping a file for it */                                 \
	POINT(UNDO_ROOM, "undo.room", FAIL_GOES_BY)      /* room for what a call will destroy */                     \
	POINT(UNDO_APPEND, "undo.append", FAIL_GOES_BY)  /* it is there, and does not count yet */                   \
	POINT(UNDO_DRAIN, "undo.drain", FAIL_GOES_BY)    /* sealed, not drained */                                   \
	POINT(UNDO_SAVED, "undo.saved", FAIL_NOTHING)    /* the call may go on */                                    \
	POINT(END_BEGIN, "end.begin", FAIL_NOTHING)      /* the program ends: before the record */                   \
	POINT(END_CUT, "end.cut", FAIL_NOTHING)          /* the store says so; its files are full */                 \
	POINT(END_DONE, "end.done", FAIL_NOTHING)                                                                    \
	POINT(RESTORE_OPENED, "restore.opened", FAIL_REFUSES)           /* the image is open */                      \
	POINT(RESTORE_LOCKED, "restore.locked", FAIL_REFUSES)           /* the store is ours */                      \
	POINT(RESTORE_CHECKED, "restore.checked", FAIL_REFUSES)         /* every checksum is right */                \
	POINT(RESTORE_UNDO, "restore.undo", FAIL_REFUSES)               /* before each change that is undone */      \
	POINT(RESTORE_REMADE, "restore.remade", FAIL_REFUSES)           /* a removed file is, without its name */    \
	POINT(RESTORE_UNDONE, "restore.undone", FAIL_REFUSES)           /* all are */                                \
	POINT(RESTORE_FILES, "restore.files", FAIL_REFUSES)             /* mapped files are checked */               \
	POINT(RESTORE_SHARED, "restore.shared", FAIL_REFUSES)           /* shared memory is made */                  \
	POINT(RESTORE_PLANNED, "restore.planned", FAIL_REFUSES)         /* the restorer knows what to do */          \
	POINT(RESTORE_DESCRIPTORS, "restore.descriptors", FAIL_REFUSES) /* descriptors are made, files cut */        \
	POINT(RESTORE_ENTER, "restore.enter", FAIL_REFUSES)             /* before the restorer takes over */         \
	POINT(RESTORER_CLEARED, "restorer.cleared", FAIL_REFUSES)       /* the old address space is gone */          \
	POINT(RESTORER_MAPPED, "restorer.mapped", FAIL_REFUSES)         /* the mappings are there */                 \
	POINT(RESTORER_LOAD, "restorer.load", FAIL_REFUSES)             /* before each piece of memory */            \
	POINT(RESTORER_LOADED, "restorer.loaded", FAIL_REFUSES)         /* all memory is */                          \
	POINT(RESTORER_THREADS, "restorer.threads", FAIL_REFUSES)       /* the threads are, and wait */              \
	POINT(RESUME_BEGIN, "resume.begin", FAIL_REFUSES)               /* code of the image runs */                 \
	POINT(RESUME_STORE, "resume.store", FAIL_REFUSES)               /* the store is open for writing */          \
	POINT(RESUME_OWNED, "resume.owned", FAIL_REFUSES)               /* it names the new owner */                 \
	POINT(RESUME_ENGINE, "resume.engine", FAIL_REFUSES)             /* the engine is there */                    \
	POINT(RESUME_TRACKED, "resume.tracked", FAIL_REFUSES)           /* memory is tracked */                      \
	POINT(RESUME_DONE, "resume.done", FAIL_REFUSES)                 /* the checkpoint thread is there */         \
	POINT(RESTORER_GO, "restorer.go", FAIL_NOTHING)                 /* before the threads go */                  \
	POINT(RESTORER_GONE, "restorer.gone", FAIL_NOTHING)             /* they have; the main thread is the last */

enum rt_fail_point {
#define RT_FAIL_IDENTIFIER(identifier, name, effect) RT_FAIL_##identifier,
	RT_FAIL_POINTS(RT_FAIL_IDENTIFIER)
#undef RT_FAIL_IDENTIFIER
		RT_FAIL_COUNT,
	RT_FAIL_ANY = RT_FAIL_COUNT,
};
/* clang-format on */

#define RT_FAIL_ACTIONS(ACTION)  \
	ACTION("kill", -1)       \
	ACTION("stop", -2)       \
	ACTION("enospc", ENOSPC) \
	ACTION("eio", EIO)       \
	ACTION("enomem", ENOMEM) \
	ACTION("emfile", EMFILE) \
	ACTION("erofs", EROFS)   \
	ACTION("edquot", EDQUOT) \
	ACTION("efbig", EFBIG)

#define RT_FAIL_KILL (-1)
#define RT_FAIL_STOP (-2)

/* A setting and how often its point has been reached. */
struct rt_fail {
	uint32_t point; /* enum rt_fail_point */
	int32_t action; /* RT_FAIL_KILL, RT_FAIL_STOP, or the errno value to return */
	uint64_t first; /* from 1 */
	uint64_t last;
	uint64_t reached;
};

#define RT_FAIL_SETTINGS 8

struct rt_fail_settings {
	uint64_t count; /* 0: nothing is set */
	struct rt_fail entries[RT_FAIL_SETTINGS];
};

/* NULL: nothing is set. In the runtime area, as it changes while the program is stopped; resume sets it anew. */
extern struct rt_fail_settings *rt_fail_settings;

/* Which points take errors. */
extern const uint8_t rt_fail_effects[RT_FAIL_COUNT];

/* The names, in the order of the table. */
extern const char *const rt_fail_names[RT_FAIL_COUNT];

/* Reads settings. 0 or -EINVAL. */
int rt_fail_parse(const char *text, struct rt_fail_settings *settings);

/* Takes a copy of them into the runtime area, if there are any. 0 or -ENOMEM. A tool, whose children go on counting,
 * has rt_fail_settings point to memory of its own instead. */
int rt_fail_set(const struct rt_fail_settings *settings);

/* The point has been reached: what is to happen, 0 for nothing. */
static inline int32_t rt_fail_count(struct rt_fail *fail, enum rt_fail_point point, enum rt_fail_effect effect)
{
	if ((fail->point != (uint32_t)point && fail->point != RT_FAIL_ANY) ||
	    (fail->action > 0 && effect == FAIL_NOTHING))
		return 0;
	uint64_t reached = __atomic_add_fetch(&fail->reached, 1, __ATOMIC_ACQ_REL);
	return reached >= fail->first && reached <= fail->last ? fail->action : 0;
}

/* The same of several settings: 0 or -errno. Any thread; raw system calls only, in the restorer too. */
static inline int rt_fail_reach(struct rt_fail_settings *settings, enum rt_fail_point point, enum rt_fail_effect effect)
{
	int32_t action = 0;
	for (uint64_t i = 0; i < settings->count; i++) {
		int32_t due = rt_fail_count(&settings->entries[i], point, effect);
		if (action == 0)
			action = due;
	}
	if (action >= 0)
		return -action;
	rt_syscall(SYS_kill, rt_sys_getpid(), action == RT_FAIL_KILL ? SIGKILL : SIGSTOP);
	return 0;
}

/* 0, or the error with which the step is to end. */
static inline int rt_fail(enum rt_fail_point point)
{
	if (__builtin_expect(rt_fail_settings == NULL, 1))
		return 0;
	return rt_fail_reach(rt_fail_settings, point, (enum rt_fail_effect)rt_fail_effects[point]);
}

#endif
