/* Signals of the program's own end its calls: each call that its handler interrupts fails with EINTR, once, and none goes
 * on to wait. Also where the signal of a stop is waiting while the handler returns, and where the program's comes as a
 * call that a stop has interrupted is about to be made again. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "victim.h"

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* siginterrupt() */

#define FOREVER_S 1000
#define PATIENCE (20 * SECOND) /* of the sender, with a call that does not end */

static int empty[2], full[2], pair[2], timed[2], listening, epoll, locked;
static sem_t semaphore;
static int (*libc_sigaction)(int, const struct sigaction *, struct sigaction *);

extern int respct_checkpoint(void) __attribute__((weak));

static pthread_t waiter;
static pid_t waiter_tid;
static long waiting, returned;              /* atomic: calls begun, and ended */
static long number, other_number, argument; /* of the call that is waited in; -1: any argument */
static long handled;
static volatile sig_atomic_t until_stopped; /* the handler stays until a signal is pending */

/* All of them, and no library sees it. */
static void change_mask(int how, uint64_t *mask)
{
	CHECK_EQUAL(syscall(SYS_rt_sigprocmask, how, mask, NULL, sizeof(*mask)), 0);
}

static void on_signal(int signal)
{
	uint64_t all = ~0UL, pending = 0;
	int64_t until = now_ns() + 8 * MILLISECOND;

	(void)signal;
	handled++;
	if (!until_stopped)
		return;
	change_mask(SIG_BLOCK, &all);
	while (pending == 0 && now_ns() < until)
		CHECK_EQUAL(syscall(SYS_rt_sigpending, &pending, sizeof(pending)), 0);
}

/* ---- the calls ---- */

static int in_pause(void)
{
	return pause();
}

static int in_sigsuspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigsuspend(&none);
}

static int in_poll(void)
{
	struct pollfd entry = {empty[0], POLLIN, 0};

	return poll(&entry, 1, -1);
}

static int in_poll_with_timeout(void)
{
	struct pollfd entry = {empty[0], POLLIN, 0};

	return poll(&entry, 1, FOREVER_S * 1000);
}

static int in_ppoll(void)
{
	struct pollfd entry = {empty[0], POLLIN, 0};
	struct timespec timeout = {FOREVER_S, 0};

	return ppoll(&entry, 1, &timeout, NULL);
}

static int in_select(void)
{
	struct timeval timeout = {FOREVER_S, 0};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(empty[0], &set);
	return select(empty[0] + 1, &set, NULL, NULL, &timeout);
}

static int in_epoll_wait(void)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, FOREVER_S * 1000);
}

static int in_nanosleep(void)
{
	struct timespec duration = {FOREVER_S, 0}, remaining = {0, 0};
	int result = nanosleep(&duration, &remaining);

	/* With the timer's slack. */
	CHECK(remaining.tv_sec > FOREVER_S - 600 && remaining.tv_sec <= FOREVER_S);
	return result;
}

static int in_sigtimedwait(void)
{
	struct timespec timeout = {FOREVER_S, 0};
	sigset_t other;

	sigemptyset(&other);
	sigaddset(&other, SIGUSR2);
	return sigtimedwait(&other, NULL, &timeout);
}

static int in_recv_with_timeout(void)
{
	char byte;

	return (int)recv(timed[0], &byte, 1, 0);
}

static int in_read(void)
{
	char byte;

	return (int)read(empty[0], &byte, 1);
}

static int in_write(void)
{
	return (int)write(full[1], "x", 1);
}

static int in_recvmsg(void)
{
	char byte;
	struct iovec vector = {&byte, 1};
	struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};

	return (int)recvmsg(pair[0], &message, 0);
}

static int in_accept(void)
{
	return accept(listening, NULL, NULL);
}

static int in_flock(void)
{
	return flock(locked, LOCK_EX);
}

static int in_fcntl(void)
{
	struct flock lock = {.l_type = F_WRLCK};

	return fcntl(locked, F_OFD_SETLKW, &lock);
}

static int in_sem_wait(void)
{
	return sem_wait(&semaphore);
}

static int in_sem_timedwait(void)
{
	struct timespec until = to_timespec(clock_ns(CLOCK_REALTIME) + FOREVER_S * SECOND);

	return sem_timedwait(&semaphore, &until);
}

static const struct {
	int (*call)(void);
	long number, other_number; /* what libc may make of it */
	bool restarts;             /* after a handler with SA_RESTART */
} calls[] = {
	{in_pause, SYS_pause, SYS_ppoll, false},
	{in_sigsuspend, SYS_rt_sigsuspend, -1, false},
	{in_poll, SYS_poll, SYS_ppoll, false},
	{in_poll_with_timeout, SYS_poll, SYS_ppoll, false},
	{in_ppoll, SYS_ppoll, -1, false},
	{in_select, SYS_select, SYS_pselect6, false},
	{in_epoll_wait, SYS_epoll_wait, SYS_epoll_pwait, false},
	{in_nanosleep, SYS_clock_nanosleep, SYS_nanosleep, false},
	{in_sigtimedwait, SYS_rt_sigtimedwait, -1, false},
	{in_recv_with_timeout, SYS_recvfrom, SYS_poll, false}, /* the rest of its time, under respct */
	{in_read, SYS_read, -1, true},
	{in_write, SYS_write, -1, true},
	{in_recvmsg, SYS_recvmsg, -1, true},
	{in_accept, SYS_accept, SYS_accept4, true},
	{in_flock, SYS_flock, -1, true},
	{in_fcntl, SYS_fcntl, -1, true},
	{in_sem_wait, SYS_futex, -1, true},
	{in_sem_timedwait, SYS_futex, -1, true},
};

#define CALLS ((int)(sizeof(calls) / sizeof(calls[0])))

static void set_by_signal(bool interrupting)
{
	CHECK_EQUAL(siginterrupt(SIGUSR1, interrupting), 0);
	CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
}

/* respct finds the handler at the next checkpoint. */
static void set_behind_respct(const struct sigaction *action)
{
	CHECK_EQUAL(libc_sigaction(SIGUSR1, action, NULL), 0);
	if (respct_checkpoint != NULL)
		CHECK(respct_checkpoint() >= 0);
}

static void wait_once(int kind, long round)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = calls[kind].restarts ? 0 : SA_RESTART};
	int error;

	until_stopped = (round + kind) % 12 == 0;
	if (round % 2 == 0)
		CHECK_EQUAL(sigaction(SIGUSR1, &action, NULL), 0);
	else if (round % 16 == 3)
		set_behind_respct(&action);
	else
		set_by_signal(calls[kind].restarts);
	__atomic_store_n(&number, calls[kind].number, __ATOMIC_RELAXED);
	__atomic_store_n(&other_number, calls[kind].other_number, __ATOMIC_RELAXED);
	__atomic_store_n(&argument, calls[kind].number == SYS_futex ? (long)&semaphore : -1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&waiting, 1, __ATOMIC_RELEASE);
	errno = 0;
	CHECK_EQUAL(calls[kind].call(), -1);
	error = errno;
	__atomic_add_fetch(&returned, 1, __ATOMIC_RELEASE);
	CHECK_EQUAL(error, EINTR);
	CHECK_EQUAL(handled, returned);
}

static void *wait_in_calls(void *argument_)
{
	long rounds = (long)(intptr_t)argument_, round;
	int kind;

	__atomic_store_n(&waiter_tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	for (round = 0; round < rounds; round++)
		for (kind = 0; kind < CALLS; kind++)
			wait_once(kind, round);
	return NULL;
}

/* ---- the sender ---- */

/* Whether the waiter sleeps in the call. */
static bool is_in_call(void)
{
	char path[64], text[256];
	long in = -1, with = -1;
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", __atomic_load_n(&waiter_tid, __ATOMIC_ACQUIRE));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	length = read(fd, text, sizeof(text) - 1);
	CHECK_EQUAL(close(fd), 0);
	if (length <= 0)
		return false;
	text[length] = '\0';
	if (sscanf(text, "%ld %lx", &in, (unsigned long *)&with) != 2)
		return false;
	if (in != __atomic_load_n(&number, __ATOMIC_RELAXED) && in != __atomic_load_n(&other_number, __ATOMIC_RELAXED))
		return false;
	return __atomic_load_n(&argument, __ATOMIC_RELAXED) == -1 ||
	       with == __atomic_load_n(&argument, __ATOMIC_RELAXED);
}

static void interrupt_once(long i)
{
	int64_t until;

	while (__atomic_load_n(&waiting, __ATOMIC_ACQUIRE) <= i || !is_in_call())
		usleep(20);
	CHECK_EQUAL(pthread_kill(waiter, SIGUSR1), 0);
	until = now_ns() + PATIENCE;
	while (__atomic_load_n(&returned, __ATOMIC_ACQUIRE) <= i) {
		CHECK(now_ns() < until); /* it waits on */
		usleep(20);
	}
}

static void prepare(void)
{
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	struct timeval timeout = {FOREVER_S, 0};
	struct epoll_event event = {.events = EPOLLIN};
	struct flock lock = {.l_type = F_WRLCK};
	char byte = 0;
	int locker;

	CHECK(libc != NULL);
	*(void **)&libc_sigaction = dlsym(libc, "sigaction");
	CHECK(libc_sigaction != NULL);
	CHECK_EQUAL(pipe(empty), 0);
	CHECK_EQUAL(pipe(full), 0);
	CHECK_EQUAL(fcntl(full[1], F_SETFL, O_NONBLOCK), 0);
	while (write(full[1], &byte, 1) == 1)
		;
	CHECK_EQUAL(fcntl(full[1], F_SETFL, 0), 0);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, timed), 0);
	CHECK_EQUAL(setsockopt(timed[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)), 0);
	listening = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(listening >= 0);
	CHECK_EQUAL(listen(listening, 1), 0);
	epoll = epoll_create1(0);
	CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, empty[0], &event), 0);
	locker = open("handler_return.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	locked = open("handler_return.lock", O_RDWR | O_CLOEXEC);
	CHECK_EQUAL(flock(locker, LOCK_EX), 0);
	CHECK_EQUAL(fcntl(locker, F_OFD_SETLK, &lock), 0);
	CHECK_EQUAL(sem_init(&semaphore, 0, 0), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 80), i;

	prepare();
	waiter = start_thread(wait_in_calls, (void *)(intptr_t)rounds);
	while (__atomic_load_n(&waiter_tid, __ATOMIC_ACQUIRE) == 0)
		usleep(20);
	for (i = 0; i < rounds * CALLS; i++)
		interrupt_once(i);
	join_thread(waiter);
	CHECK_EQUAL(unlink("handler_return.lock"), 0);
	printf("handler_return: %ld calls\n", rounds * CALLS);
	return 0;
}
