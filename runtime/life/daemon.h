/* Protection that passes from a process to the daemon it leaves behind; see daemon.c. */
#ifndef RT_DAEMON_H
#define RT_DAEMON_H

/* In a fork child, on its one thread: it runs on unprotected, ready to become a daemon. */
void rt_enter_child(void);

/* In the parent, before and after fork. */
void rt_prepare_fork(void);
void rt_after_fork(void);

/* The calling process now leads a session: if it descends from the protected one by fork, it stands by. */
void rt_become_daemon(void);

/* A daemon has executed this program while process `ancestor` still holds the store: it stands by. */
void rt_stand_by_for(int ancestor);

/* Ends the thread that waits, if there is one: then no stop is going on, and the process stands by no longer or has taken
 * the store over. And starts it again where it has been ended so. See pause.c. */
void rt_end_standing_by(void);
void rt_stand_by_again(void);

#endif
