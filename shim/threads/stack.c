/* The stacks; see stack.h. */
#include "stack.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/sys.h"
#include "memory/window.h"
#include "shim/memory/heap.h"

#define MAX_STACKS 4096    /* more threads than that at a time get libc's own stacks */
#define MAX_IDLE_STACKS 64 /* kept mapped for the next threads */

static struct stack stacks[MAX_STACKS];
static int used; /* entries of stacks[] ever used */
static int idle; /* mapped and not taken */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_over(const struct stack *stack)
{
	/* The kernel clears it when the thread ends; pthread_join() then makes it -1. */
	return stack->released && stack->tid_address != NULL &&
	       __atomic_load_n(stack->tid_address, __ATOMIC_ACQUIRE) <= 0;
}

static void unmap(struct stack *stack)
{
	rt_sys_munmap(stack->mapping, stack->guard + stack->size);
	stack->mapping = NULL;
}

/* Finds the stacks whose threads are gone. */
static void collect(void)
{
	for (int i = 0; i < used; i++) {
		if (!stacks[i].taken || !is_over(&stacks[i]))
			continue;
		stacks[i].taken = false;
		if (idle >= MAX_IDLE_STACKS)
			unmap(&stacks[i]);
		else
			idle++;
	}
}

static struct stack *find_idle(size_t size, size_t guard)
{
	for (int i = 0; i < used; i++)
		if (stacks[i].mapping != NULL && !stacks[i].taken && stacks[i].size == size && stacks[i].guard == guard)
			return &stacks[i];
	return NULL;
}

static struct stack *unused_entry(void)
{
	for (int i = 0; i < used; i++)
		if (stacks[i].mapping == NULL)
			return &stacks[i];
	return used < MAX_STACKS ? &stacks[used++] : NULL;
}

static struct stack *map(size_t size, size_t guard)
{
	struct stack *stack = unused_entry();
	if (stack == NULL)
		return NULL;
	char *mapping = rt_window_map(RT_WINDOW_STACKS, guard + size, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE);
	if (mapping == MAP_FAILED)
		return NULL;
	if (guard > 0)
		rt_syscall(SYS_mprotect, mapping, guard, PROT_NONE);
	*stack = (struct stack){.mapping = mapping, .guard = guard, .size = size};
	return stack;
}

struct stack *stack_take(size_t size, size_t guard)
{
	size = RT_PAGE_ALIGN_UP(size);
	guard = RT_PAGE_ALIGN_UP(guard);
	shim_heap_lock(&lock);
	collect();
	struct stack *stack = find_idle(size, guard);
	if (stack != NULL)
		idle--;
	else
		stack = map(size, guard);
	if (stack != NULL) {
		stack->taken = true;
		stack->released = false;
		stack->tid_address = NULL;
	}
	shim_heap_unlock(&lock);
	return stack;
}

void stack_return(struct stack *stack)
{
	shim_heap_lock(&lock);
	stack->taken = false;
	idle++;
	shim_heap_unlock(&lock);
}

void stack_release(pthread_t thread)
{
	const char *descriptor = (const char *)thread;
	shim_heap_lock(&lock);
	for (int i = 0; i < used; i++) {
		const struct stack *stack = &stacks[i];
		if (stack->taken && descriptor >= stack->mapping &&
		    descriptor < stack->mapping + stack->guard + stack->size) {
			stacks[i].released = true;
			break;
		}
	}
	shim_heap_unlock(&lock);
}
