/*
 * crasher HOW: crashes in one of many ways, or checks that it could not tell that it is watched.
 * Those that crash do so when a file called `go` is in the directory.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 8
#define KERNEL_FLAG 0x04000000 /* SA_RESTORER, which libc adds */

static const int watched[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
static char *volatile nowhere = (char *)16;
static volatile int zero;
static volatile int released;

static void fail(const char *what, int number)
{
	printf("%s: signal %d\n", what, number);
	exit(1);
}

static void await_go(void)
{
	puts("waiting");
	fflush(stdout);
	while (access("go", F_OK))
		usleep(2000);
}

/* Frames with names the test looks for. */
__attribute__((noinline)) static int stumble(void)
{
	int result = *nowhere;
	__asm__ volatile("");
	return result;
}

__attribute__((noinline)) static int walk(int steps)
{
	int result = steps > 0 ? walk(steps - 1) : stumble();
	__asm__ volatile("");
	return result + 1;
}

static void *run_walker(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "walker");
	await_go();
	return (void *)(intptr_t)walk(3);
}

static void crash_in_thread(void)
{
	pthread_t thread;
	pthread_create(&thread, NULL, run_walker, NULL);
	pthread_join(thread, NULL);
}

static void *run_with_others(void *unused)
{
	(void)unused;
	while (!released)
		;
	return (void *)(intptr_t)walk(3);
}

static void crash_in_all_threads(void)
{
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, run_with_others, NULL);
	await_go();
	released = 1;
	pthread_join(threads[0], NULL);
}

static void crash_at_end_of_file(void)
{
	await_go();
	FILE *file = fopen("empty", "w+");
	const char *mapping = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fileno(file), 0);
	zero = *mapping;
}

/* The heap's own memory is not what the crash's record may rely on. */
static void crash_in_malloc(void)
{
	await_go();
	free(nowhere);
	abort();
}

static void crash_without_thread_storage(void)
{
	await_go();
	__asm__ volatile("xorl %%eax, %%eax\n\twrfsbase %%rax\n\tmovl $16, %%eax\n\tmovl (%%rax), %%eax" ::
				 : "rax", "memory");
}

static void overflow_handler(int number)
{
	static const char text[] = "overflow\n";
	if (write(1, text, sizeof(text) - 1) < 0 || number != SIGSEGV)
		_exit(6);
	_exit(5);
}

__attribute__((noinline)) static int overflow(int depth)
{
	volatile char block[1024];
	block[0] = (char)depth;
	return released ? 0 : overflow(depth + 1) + block[0];
}

static void handle_overflow(void)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536}, old;
	struct sigaction action = {.sa_handler = overflow_handler, .sa_flags = SA_ONSTACK};
	if (sigaltstack(&stack, &old) < 0 || !(old.ss_flags & SS_DISABLE))
		fail("there was an alternate stack", SIGSEGV);
	sigaction(SIGSEGV, &action, NULL);
	await_go();
	overflow(0);
}

/* Nobody handles it, but there is a stack to write the record on. */
static void overflow_with_stack(void)
{
	stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
	sigaltstack(&stack, NULL);
	await_go();
	overflow(0);
}

static void own_handler(int number)
{
	static const char text[] = "handled\n";
	if (write(1, text, sizeof(text) - 1) < 0)
		_exit(6);
	signal(number, SIG_DFL);
}

/* What crash reporters do: say something, then die of it after all. */
static void handle_and_die(void)
{
	signal(SIGSEGV, own_handler);
	await_go();
	walk(1);
}

static void crash_in_child(void)
{
	int status;
	await_go();
	pid_t child = fork();
	if (child == 0) {
		walk(1);
		_exit(0);
	}
	waitpid(child, &status, 0);
	printf("child: signal %d\n", WTERMSIG(status));
	exit(4);
}

/* ---- nothing to be seen ---- */

static void check_default(int number, int flags)
{
	struct sigaction action;
	if (sigaction(number, NULL, &action) < 0 || action.sa_handler != SIG_DFL || action.sa_flags != flags)
		fail("not the default", number);
}

static void check_dispositions_of(int number, int *flags)
{
	struct sigaction own = {.sa_handler = own_handler, .sa_flags = SA_RESTART}, standard = {.sa_handler = SIG_DFL},
			 old;
	check_default(number, *flags);
	sigaddset(&own.sa_mask, SIGUSR1);
	if (sigaction(number, &own, &old) < 0 || old.sa_handler != SIG_DFL)
		fail("the first handler's predecessor", number);
	if (sigaction(number, NULL, &old) < 0 || old.sa_handler != own_handler ||
	    old.sa_flags != (SA_RESTART | KERNEL_FLAG) || !sigismember(&old.sa_mask, SIGUSR1) ||
	    sigismember(&old.sa_mask, SIGUSR2))
		fail("the handler", number);
	standard.sa_flags = SA_NODEFER;
	if (sigaction(number, &standard, &old) < 0 || old.sa_handler != own_handler)
		fail("the handler as predecessor", number);
	check_default(number, SA_NODEFER | KERNEL_FLAG);
	if (signal(number, SIG_IGN) != SIG_DFL || signal(number, own_handler) != SIG_IGN ||
	    signal(number, SIG_DFL) != own_handler || signal(number, SIG_DFL) != SIG_DFL)
		fail("signal()", number);
	if (sysv_signal(number, own_handler) != SIG_DFL || sysv_signal(number, SIG_DFL) != own_handler)
		fail("sysv_signal()", number);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	if (sigset(number, own_handler) != SIG_DFL || sigset(number, SIG_DFL) != own_handler ||
	    sigset(number, SIG_DFL) != SIG_DFL)
		fail("sigset()", number);
#pragma GCC diagnostic pop
	standard.sa_flags = SA_RESTART;
	sigaction(number, &standard, NULL);
	*flags = SA_RESTART | KERNEL_FLAG;
	check_default(number, *flags);
}

/* The flags it leaves are found the next time. */
static void check_dispositions(void)
{
	static int flags[sizeof(watched) / sizeof(watched[0])];
	for (unsigned i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		check_dispositions_of(watched[i], &flags[i]);
}

/* Also in a child and, while it waits, in a restored process. */
static void check_all(void)
{
	int status;
	check_dispositions();
	await_go();
	check_dispositions();
	pid_t child = fork();
	if (child == 0) {
		check_dispositions();
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (status != 0)
		fail("in the child", 0);
	puts("nothing to be seen");
	exit(0);
}

/* Crashes until a file called `fixed` is there. */
static void crash_until_fixed(void)
{
	static uint64_t cells[100000];
	for (uint64_t i = 0; i < 100000; i++)
		cells[i] = i * i;
	await_go();
	if (access("fixed", F_OK))
		walk(1);
	for (uint64_t i = 0; i < 100000; i++)
		if (cells[i] != i * i)
			exit(99);
	puts("done");
	exit(3);
}

static void raise_when_told(int number)
{
	await_go();
	raise(number);
}

int main(int argc, char **argv)
{
	const struct {
		const char *name;
		void (*crash)(void);
	} ways[] = {{"thread", crash_in_thread},
		    {"all", crash_in_all_threads},
		    {"bus", crash_at_end_of_file},
		    {"malloc", crash_in_malloc},
		    {"storage", crash_without_thread_storage},
		    {"overflow", handle_overflow},
		    {"overflow-default", overflow_with_stack},
		    {"handler", handle_and_die},
		    {"child", crash_in_child},
		    {"check", check_all},
		    {"until-fixed", crash_until_fixed},
		    {"wait", await_go}};
	const char *how = argc > 1 ? argv[1] : "";
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (strcmp(how, ways[i].name) == 0)
			ways[i].crash();
	if (strcmp(how, "abort") == 0) {
		await_go();
		abort();
	}
	if (strcmp(how, "divide") == 0) {
		await_go();
		return argc / zero;
	}
	if (strcmp(how, "trap") == 0) {
		await_go();
		__builtin_trap();
	}
	if (strcmp(how, "breakpoint") == 0) {
		await_go();
		__asm__ volatile("int3");
	}
	if (strcmp(how, "call") == 0) {
		void (*volatile function)(void) = NULL;
		await_go();
		function();
	}
	if (atoi(how) > 0)
		raise_when_told(atoi(how));
	return 2;
}
