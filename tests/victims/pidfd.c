/*
 * Descriptors of processes: the one of this process is not ready and takes signals; the one of a child
 * that was waited for stays ready; one of a living child becomes ready in epoll when the child ends,
 * also when it ends with a kill of its parent.
 */
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "victim.h"

static volatile sig_atomic_t received;

static void receive(int number)
{
	(void)number;
	received++;
}

static int open_process(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 && errno == ENOSYS)
		exit(77);
	CHECK(fd >= 0);
	return fd;
}

static bool has_ended(int fd)
{
	struct pollfd entry = {.fd = fd, .events = POLLIN};
	CHECK(poll(&entry, 1, 0) >= 0);
	return entry.revents & POLLIN;
}

/* A child that lives for a moment; returns its descriptor. */
static int start_child(pid_t *child)
{
	*child = fork();
	CHECK(*child >= 0);
	if (*child == 0) {
		usleep(3000);
		_exit(5);
	}
	return open_process(*child);
}

static void await_in_epoll(int process)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = process}, got;
	int epoll = epoll_create1(0), result;
	CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, process, &event), 0);
	do
		result = epoll_wait(epoll, &got, 1, 10000);
	while (result < 0 && errno == EINTR);
	CHECK_EQUAL(result, 1);
	CHECK_EQUAL(got.data.fd, process);
	close(epoll);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 100), i;
	pid_t child;
	int status, self = open_process(getpid()), ended = start_child(&child);
	signal(SIGUSR1, receive);
	CHECK_EQUAL(waitpid(child, &status, 0), child);
	for (i = 0; i < rounds; i++) {
		int process = start_child(&child);
		spin((uint64_t)i, 1000000);
		CHECK(!has_ended(self));
		CHECK(has_ended(ended));
		CHECK_EQUAL(syscall(SYS_pidfd_send_signal, self, SIGUSR1, NULL, 0), 0);
		CHECK_EQUAL(received, i + 1);
		CHECK_EQUAL(syscall(SYS_pidfd_send_signal, ended, SIGUSR1, NULL, 0), -1);
		CHECK_EQUAL(errno, ESRCH);
		await_in_epoll(process);
		CHECK_EQUAL(waitpid(child, &status, 0), child);
		CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 5) ||
		      (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
		close(process);
	}
	printf("pidfd: %ld rounds\n", i);
	return 0;
}
