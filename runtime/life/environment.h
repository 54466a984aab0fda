/*
 * What the environment of a program must hold for it to be protected: across exec, the program that comes is
 * protected in place of the old, whatever environment it is given.
 */
#ifndef RT_ENVIRONMENT_H
#define RT_ENVIRONMENT_H

/* Remembers the variables this process was protected with. Before main(), once. */
void rt_environment_keep(void);

/* `given`, or a copy that has what it lacks. On the thread that executes a program, while no checkpoints are taken. */
char *const *rt_environment_complete(char *const *given);

/* Gives back what rt_environment_complete(given) has made. */
void rt_environment_free(char *const *given, char *const *complete);

#endif
