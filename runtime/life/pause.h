/* Calls that no checkpoint may meet; see pause.c. */
#ifndef RT_PAUSE_H
#define RT_PAUSE_H

/* Around exec: no checkpoints, and no straggler signal left pending. And around what the kernel refuses to a process of
 * more than one thread: without that of the runtime. Any thread, also in a signal handler. errno is not kept. */
void rt_pause_checkpoints(void);
void rt_checkpoints_go_on(void);

/* In a fork child: what other threads were about is not going on here. */
void rt_forget_pauses(void);

#endif
