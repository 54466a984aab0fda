/* Alternate signal stacks: handlers run on them, per thread, deep in a handler too; and SIGSEGV
 * handlers that repair a page still get their faults with the right address. */
#include <signal.h>
#include <sys/mman.h>

#include "victim.h"

#define THREADS 4
#define STACK_SIZE 65536

static __thread unsigned char *stack;
static __thread unsigned char *guarded_page;
static __thread long handled, faults;
static __thread uint64_t handler_sum;
static uint64_t sums[THREADS];
static long rounds;

static bool on_own_stack(const void *address)
{
	const unsigned char *byte = address;

	return byte >= stack && byte < stack + STACK_SIZE;
}

/* Recursion inside the handler, so that a checkpoint may find much of the alternate stack in use. */
static uint64_t descend(int depth, uint64_t value)
{
	volatile unsigned char frame[512];
	uint64_t result;

	CHECK(on_own_stack((const void *)frame));
	frame[depth % 512] = (unsigned char)value;
	result = depth ? descend(depth - 1, mix(value)) : value;
	CHECK_EQUAL(frame[depth % 512], (unsigned char)value);
	return result;
}

static void on_signal(int number)
{
	stack_t current;

	(void)number;
	CHECK_EQUAL(sigaltstack(NULL, &current), 0);
	CHECK(current.ss_flags & SS_ONSTACK);
	handler_sum += descend(40, (uint64_t)handled);
	handled++;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	CHECK_EQUAL(number, SIGSEGV);
	CHECK_EQUAL((uintptr_t)info->si_addr, (uintptr_t)guarded_page + (uintptr_t)(faults % 4096));
	CHECK(on_own_stack(&info) || on_own_stack(info));
	CHECK_EQUAL(mprotect(guarded_page, PAGE, PROT_READ | PROT_WRITE), 0);
	faults++;
}

static void use_own_stack(void)
{
	stack_t new_stack = {.ss_size = STACK_SIZE};

	stack = malloc(STACK_SIZE);
	new_stack.ss_sp = stack;
	CHECK_EQUAL(sigaltstack(&new_stack, NULL), 0);
}

static void check_own_stack(void)
{
	stack_t current;

	CHECK_EQUAL(sigaltstack(NULL, &current), 0);
	CHECK(current.ss_sp == stack);
	CHECK_EQUAL(current.ss_size, STACK_SIZE);
	CHECK_EQUAL(current.ss_flags, 0);
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument;
	uint64_t sum = 0;
	long i;

	use_own_stack();
	guarded_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(pthread_kill(pthread_self(), SIGUSR1), 0);
		CHECK_EQUAL(handled, i + 1);
		CHECK_EQUAL(mprotect(guarded_page, PAGE, PROT_NONE), 0);
		((volatile unsigned char *)guarded_page)[i % 4096] += (unsigned char)(i + 1);
		CHECK_EQUAL(faults, i + 1);
		sum = sum * 31 + guarded_page[i % 4096];
		check_own_stack();
	}
	sums[self] = sum + handler_sum;
	return NULL;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
	struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_ONSTACK | SA_SIGINFO};
	int i;

	rounds = victim_work(argc, argv, 10000);
	CHECK_EQUAL(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQUAL(sigaction(SIGSEGV, &fault, NULL), 0);
	run_threads(THREADS, worker);
	for (i = 0; i < THREADS; i++)
		printf("signal_stack %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
