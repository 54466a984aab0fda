/*
 * What the environment of a program must hold for it to be protected: across exec, the program that comes is
 * protected in place of the old, whatever environment it is given.
 */
#ifndef RT_ENVIRONMENT_H
#define RT_ENVIRONMENT_H

/* Environment variable: pid of the process that was protected with it; "PID,ANCESTOR" of one that stands by. */
#define RT_PROTECTED_VARIABLE "RESPCT_PROTECTED"

/* Remembers the variables this process is protected with. Before main(), once. */
void rt_environment_keep(void);

/* Sets a variable, for the programs that are executed, too. On a program thread that may call setenv(3). */
void rt_environment_set(const char *name, const char *value);

/* `given`, or a copy that has what it lacks. On the thread that executes a program, while no checkpoints are taken. */
char *const *rt_environment_complete(char *const *given);

/* Gives back what rt_environment_complete(given) has made. */
void rt_environment_free(char *const *given, char *const *complete);

#endif
