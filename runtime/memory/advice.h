/* Locks and advice on memory: what wrappers tell of them; capture/advice.c. Any thread. */
#ifndef RT_ADVICE_H
#define RT_ADVICE_H

/* The kernel's flags of some mapping may have changed: they are read again before the next stop. */
void rt_advice_changed(void);

/* Memory is about to be discarded, or has just been (MADV_DONTNEED); capture/memory.c. */
void rt_memory_discarded(void);

/* After mlockall(): MCL_FUTURE with or without MCL_ONFAULT; 0: memory to come is not locked. */
void rt_advice_lock_future(int mlockall_flags);

/* What the last call of that has said. */
int rt_advice_locked_future(void);

#endif
