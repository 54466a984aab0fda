/*
 * A program that handles SIGBUS in many ways, until the file `finish` is there. Its handlers must be called,
 * with all that belongs to it, for what it does itself and for nothing else.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/victims/victim.h"

static __thread sigjmp_buf environment;
static char *volatile expected_address;
static volatile sig_atomic_t simple_count, waited_for;
static volatile int expected_code;

static void on_fault(int number, siginfo_t *info, void *context)
{
	ucontext_t *frame = context;
	CHECK_EQUAL(number, SIGBUS);
	CHECK_EQUAL(info->si_code, BUS_ADRERR);
	CHECK(info->si_addr == expected_address);
	CHECK(sigismember(&frame->uc_sigmask, SIGUSR1) == 0);
	sigset_t now;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	CHECK(sigismember(&now, SIGUSR1) == 1);
	siglongjmp(environment, 1);
}

static void on_queued(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	CHECK_EQUAL(info->si_code, expected_code);
	if (info->si_code == SI_QUEUE)
		CHECK_EQUAL(info->si_value.sival_int, 1234);
	waited_for = 1;
}

static void on_simple(int number)
{
	CHECK_EQUAL(number, SIGBUS);
	simple_count++;
}

static void set_and_compare(void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags}, shown;
	sigaddset(&action.sa_mask, SIGUSR1);
	CHECK_EQUAL(sigaction(SIGBUS, &action, NULL), 0);
	CHECK_EQUAL(sigaction(SIGBUS, NULL, &shown), 0);
	CHECK(shown.sa_sigaction == handler);
	CHECK_EQUAL(shown.sa_flags & ~0x04000000, flags);
	CHECK(sigismember(&shown.sa_mask, SIGUSR1) == 1 && sigismember(&shown.sa_mask, SIGUSR2) == 0);
}

/* A page that its file does not have any more. */
static void fault(void)
{
	int fd = open("cut", O_RDWR | O_CREAT, 0600);
	CHECK(fd >= 0);
	CHECK_EQUAL(ftruncate(fd, 2 * PAGE), 0);
	char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	map[PAGE] = 1;
	CHECK_EQUAL(ftruncate(fd, PAGE), 0);
	expected_address = map + PAGE + 8;
	if (sigsetjmp(environment, 1) == 0) {
		*expected_address = 1;
		CHECK(!"the access went well");
	}
	munmap(map, 2 * PAGE);
	close(fd);
}

static void handle_faults(void)
{
	set_and_compare(on_fault, SA_SIGINFO);
	fault();
	set_and_compare(on_fault, SA_SIGINFO | SA_NODEFER | SA_RESETHAND);
	fault();
	struct sigaction shown;
	CHECK_EQUAL(sigaction(SIGBUS, NULL, &shown), 0);
	CHECK(shown.sa_handler == SIG_DFL);
}

static void handle_sent(void)
{
	union sigval value = {.sival_int = 1234};
	set_and_compare(on_queued, SA_SIGINFO | SA_RESTART);
	waited_for = 0;
	expected_code = SI_QUEUE;
	CHECK_EQUAL(pthread_sigqueue(pthread_self(), SIGBUS, value), 0);
	while (!waited_for)
		;
	waited_for = 0;
	expected_code = SI_TKILL;
	CHECK_EQUAL(raise(SIGBUS), 0);
	CHECK(waited_for);
	CHECK(signal(SIGBUS, on_simple) == (sighandler_t)(void (*)(void))on_queued);
	int before = simple_count;
	CHECK_EQUAL(raise(SIGBUS), 0);
	CHECK_EQUAL(simple_count, before + 1);
	CHECK(signal(SIGBUS, SIG_DFL) == on_simple);
	CHECK(signal(SIGBUS, SIG_DFL) == SIG_DFL);
}

/* Files are changed meanwhile, so that something is saved. */
static void *change_files(void *argument)
{
	sigset_t set;
	sigfillset(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	while (access("finish", F_OK) != 0) {
		int fd = open("changed", O_RDWR | O_CREAT | O_TRUNC, 0600);
		CHECK(fd >= 0);
		CHECK_EQUAL(write(fd, "text", 4), 4);
		CHECK_EQUAL(pwrite(fd, "t", 1, 0), 1);
		close(fd);
		usleep(300);
	}
	return argument;
}

int main(void)
{
	pthread_t thread;
	printf("begun\n");
	fflush(stdout);
	CHECK_EQUAL(pthread_create(&thread, NULL, change_files, NULL), 0);
	while (access("finish", F_OK) != 0) {
		handle_faults();
		handle_sent();
		usleep(200);
	}
	CHECK_EQUAL(pthread_join(thread, NULL), 0);
	printf("all is right\n");
	return 0;
}
