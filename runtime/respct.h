/*
 * The public interface of librespct.so, for programs that know they are protected. None needs it.
 *
 * Look the functions up with dlsym(RTLD_DEFAULT, ...), so that the program also runs without the
 * library. Thread-safe; not async-signal-safe.
 */
#ifndef RESPCT_H
#define RESPCT_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Takes a checkpoint now and returns when it has committed: 0, or an errno value negated (-ESRCH:
 * not protected). What the caller did before the call is then safe. In a process restored from
 * that checkpoint the call returns 0, too.
 */
int respct_checkpoint(void);

/* Whether the calling process is protected: 1 or 0. */
int respct_protected(void);

#ifdef __cplusplus
}
#endif

#endif
