/* Threads: their stacks are placed in the window. */
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/sys.h"
#include "root.h"
#include "shim/next.h"
#include "stack.h"

/* The first code of a thread on a stack of ours. */
static void *start_on_stack(void *argument)
{
	struct stack *stack = argument;
	void *(*start)(void *) = stack->start;
	void *own_argument = stack->argument;
	int *tid_address = NULL;
	rt_syscall(SYS_prctl, PR_GET_TID_ADDRESS, &tid_address, 0, 0, 0);
	__atomic_store_n(&stack->tid_address, tid_address, __ATOMIC_RELEASE);
	return start(own_argument);
}

/* Whether the program has chosen the stack itself: libc then reports where it begins. */
static bool has_own_stack(const pthread_attr_t *attributes)
{
	void *lowest;
	size_t size;
	if (pthread_attr_getstack(attributes, &lowest, &size) != 0)
		return true;
	return (uintptr_t)lowest + size != 0;
}

static bool is_detached(const pthread_attr_t *attributes)
{
	int state = PTHREAD_CREATE_JOINABLE;
	pthread_attr_getdetachstate(attributes, &state);
	return state == PTHREAD_CREATE_DETACHED;
}

static int create_on_stack(pthread_t *thread, pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
	size_t size, guard;
	pthread_attr_getstacksize(attributes, &size);
	pthread_attr_getguardsize(attributes, &guard);
	bool detached = is_detached(attributes);
	struct stack *stack = stack_take(size, guard);
	if (stack == NULL)
		return SHIM_NEXT(pthread_create)(thread, attributes, start, argument);
	stack->start = start;
	stack->argument = argument;
	stack->released = detached;
	pthread_attr_setstack(attributes, stack->mapping + stack->guard, stack->size);
	int result = SHIM_NEXT(pthread_create)(thread, attributes, start_on_stack, stack);
	if (result != 0)
		stack_return(stack);
	return result;
}

SHIM_EXPORT int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
			       void *(*start)(void *), void *restrict argument)
{
	pthread_attr_t own;
	if (!rt_is_protected() || (attributes != NULL && has_own_stack(attributes)))
		return SHIM_NEXT(pthread_create)(thread, attributes, start, argument);
	if (attributes != NULL) {
		/* What a copy shares with the original is only read. */
		own = *attributes;
		return create_on_stack(thread, &own, start, argument);
	}
	if (pthread_getattr_default_np(&own) != 0)
		return SHIM_NEXT(pthread_create)(thread, attributes, start, argument);
	int result = create_on_stack(thread, &own, start, argument);
	pthread_attr_destroy(&own);
	return result;
}

static int released_if(int result, pthread_t thread)
{
	if (result == 0)
		stack_release(thread);
	return result;
}

SHIM_EXPORT int pthread_join(pthread_t thread, void **value)
{
	return released_if(SHIM_NEXT(pthread_join)(thread, value), thread);
}

SHIM_EXPORT int pthread_tryjoin_np(pthread_t thread, void **value)
{
	return released_if(SHIM_NEXT(pthread_tryjoin_np)(thread, value), thread);
}

SHIM_EXPORT int pthread_timedjoin_np(pthread_t thread, void **value, const struct timespec *deadline)
{
	return released_if(SHIM_NEXT(pthread_timedjoin_np)(thread, value, deadline), thread);
}

SHIM_EXPORT int pthread_clockjoin_np(pthread_t thread, void **value, clockid_t clock, const struct timespec *deadline)
{
	return released_if(SHIM_NEXT(pthread_clockjoin_np)(thread, value, clock, deadline), thread);
}

SHIM_EXPORT int pthread_detach(pthread_t thread)
{
	return released_if(SHIM_NEXT(pthread_detach)(thread), thread);
}

/* libc knows of no guard below a stack it is given. Rust's threads, for one, do not start without. */
SHIM_EXPORT int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
	int result = SHIM_NEXT(pthread_getattr_np)(thread, attributes);
	size_t guard = result == 0 ? stack_guard(thread) : 0;
	if (guard > 0)
		pthread_attr_setguardsize(attributes, guard);
	return result;
}
