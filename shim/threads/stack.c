/* The stacks; see stack.h. */
#include "stack.h"

#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "base/sys.h"
#include "memory/window.h"
#include "shim/memory/heap.h"

#define MAX_STACKS 4096    /* more threads than that at a time get libc's own stacks */
#define MAX_IDLE_STACKS 64 /* kept mapped for the next threads */

static struct stack stacks[MAX_STACKS];
static int used;        /* entries of stacks[] ever used */
static int idle;        /* mapped and not taken */
static bool executable; /* all of them */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- whether they are to be executable ---- */

static bool wants_executable_stacks(const struct dl_phdr_info *object)
{
	for (int i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_GNU_STACK)
			return (object->dlpi_phdr[i].p_flags & PF_X) != 0;
	/* Of before that segment was thought of; the kernel's own object is not asked. */
	return object->dlpi_addr != getauxval(AT_SYSINFO_EHDR);
}

struct look {
	unsigned long long seen, loaded; /* objects ever loaded: when it was last looked, and now */
	bool wanted;
};

static int look_at(struct dl_phdr_info *object, size_t size, void *argument)
{
	struct look *look = argument;
	(void)size;
	look->loaded = object->dlpi_adds;
	if (look->loaded == look->seen)
		return 1;
	look->wanted = look->wanted || wants_executable_stacks(object);
	return 0;
}

/* Not under the lock: the program may create threads within a dl_iterate_phdr() of its own. */
static bool are_to_be_executable(void)
{
	static unsigned long long seen;
	static bool wanted; /* unloading does not take it back, as in libc */
	struct look look = {.seen = __atomic_load_n(&seen, __ATOMIC_ACQUIRE)};
	dl_iterate_phdr(look_at, &look);
	if (look.wanted)
		__atomic_store_n(&wanted, true, __ATOMIC_RELAXED);
	__atomic_store_n(&seen, look.loaded, __ATOMIC_RELEASE);
	return __atomic_load_n(&wanted, __ATOMIC_RELAXED);
}

/* ---- the stacks ---- */

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

static void make_executable(void)
{
	for (int i = 0; i < used; i++)
		if (stacks[i].mapping != NULL)
			rt_syscall(SYS_mprotect, stacks[i].mapping + stacks[i].guard, stacks[i].size,
				   PROT_READ | PROT_WRITE | PROT_EXEC);
	executable = true;
}

static struct stack *map(size_t size, size_t guard)
{
	int protection = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
	struct stack *stack = unused_entry();
	if (stack == NULL)
		return NULL;
	char *mapping = rt_window_map(RT_WINDOW_STACKS, guard + size, protection,
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
	bool wanted = are_to_be_executable();
	size = RT_PAGE_ALIGN_UP(size);
	guard = RT_PAGE_ALIGN_UP(guard);
	shim_heap_lock(&lock);
	if (wanted && !executable)
		make_executable();
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

/* libc keeps the thread's descriptor in its stack. */
static struct stack *stack_of(pthread_t thread)
{
	const char *descriptor = (const char *)thread;
	for (int i = 0; i < used; i++)
		if (stacks[i].taken && descriptor >= stacks[i].mapping &&
		    descriptor < stacks[i].mapping + stacks[i].guard + stacks[i].size)
			return &stacks[i];
	return NULL;
}

void stack_release(pthread_t thread)
{
	shim_heap_lock(&lock);
	struct stack *stack = stack_of(thread);
	if (stack != NULL)
		stack->released = true;
	shim_heap_unlock(&lock);
}

size_t stack_guard(pthread_t thread)
{
	shim_heap_lock(&lock);
	const struct stack *stack = stack_of(thread);
	size_t guard = stack != NULL ? stack->guard : 0;
	shim_heap_unlock(&lock);
	return guard;
}

void stack_prepare_fork(void)
{
	shim_heap_lock(&lock);
}

void stack_after_fork(void)
{
	shim_heap_unlock(&lock);
}
