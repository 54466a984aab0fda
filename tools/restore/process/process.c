/* Creating the process under its old number; see process.h. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clocks.h"
#include "common/clone.h"
#include "common/report.h"
#include "restore/files/shared.h"
#include "restore/restorer/plan.h"
#include "session.h"

static pid_t child;          /* the process as we know it */
static pid_t namespace_init; /* its namespace's init, our child; 0: none */
static int status_socket = -1;
static bool segments_outside; /* it has an IPC namespace of its own, and may have left segments in ours */

/* ---- in the namespace ---- */

static void send_status(int socket, int status)
{
	if (write(socket, &status, sizeof(status)) != sizeof(status))
		_exit(EXIT_TOOL_FAILED);
}

/* The kernel tells the receiver our number as it sees it. */
static void introduce_ourselves(int socket)
{
	struct ucred credentials = {getpid(), geteuid(), getegid()};
	int status = 0;
	char control[CMSG_SPACE(sizeof(credentials))] = {0};
	struct iovec vector = {&status, sizeof(status)};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_CREDENTIALS;
	header->cmsg_len = CMSG_LEN(sizeof(credentials));
	memcpy(CMSG_DATA(header), &credentials, sizeof(credentials));
	if (sendmsg(socket, &message, 0) < 0)
		refuse("cannot tell the process number: %s", strerror(errno));
}

/* A /proc that shows this namespace: the program looks up its own threads there. */
static void mount_proc(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		refuse("cannot mount /proc in the process's namespace: %s", strerror(errno));
}

/* The process begins in a time namespace, when it needs one and none has been made outside. */
static void keep_clocks(void)
{
	int result = clocks_need_namespace() ? clocks_make_namespace() : 0;
	if (result < 0)
		clocks_report(result);
}

/* The namespace's init: waits for the process, reaps what it leaves, and passes its status on. */
static void run_init(pid_t pid, int socket, void (*become)(void *), void *argument)
{
	sigset_t all;
	char permit;
	/* The parent writes the user mapping first. */
	if (read(socket, &permit, 1) != 1)
		_exit(EXIT_TOOL_FAILED);
	mount_proc();
	keep_clocks();
	pid_t process = clone_process(0, pid);
	if (process < 0)
		refuse("cannot create process %d in a namespace: %s", pid, strerror(errno));
	if (process == 0) {
		introduce_ourselves(socket);
		close(socket);
		become(argument);
		_exit(EXIT_TOOL_FAILED);
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (;;) {
		int status;
		pid_t ended = waitpid(-1, &status, WUNTRACED);
		if (ended == process && WIFSTOPPED(status)) {
			send_status(socket, status);
		} else if (ended == process) {
			send_status(socket, status);
			_exit(0);
		}
		if (ended < 0 && errno == ECHILD)
			_exit(EXIT_TOOL_FAILED);
	}
}

/* ---- outside ---- */

static void write_file(pid_t pid, const char *name, const char *text)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
		int error = errno;
		kill(pid, SIGKILL);
		refuse("%s: %s: user namespaces are restricted here", path, strerror(error));
	}
	close(fd);
}

/* The program keeps its user and group; no others exist in its namespace. */
static void map_user(pid_t pid)
{
	char text[64];
	write_file(pid, "setgroups", "deny");
	snprintf(text, sizeof(text), "%u %u 1", geteuid(), geteuid());
	write_file(pid, "uid_map", text);
	snprintf(text, sizeof(text), "%u %u 1", getegid(), getegid());
	write_file(pid, "gid_map", text);
}

static pid_t receive_introduction(int socket)
{
	int status, on = 1;
	struct ucred credentials;
	char control[CMSG_SPACE(sizeof(credentials))];
	struct iovec vector = {&status, sizeof(status)};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header == NULL || header->cmsg_type != SCM_CREDENTIALS)
		return -1;
	memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
	return credentials.pid;
}

static pid_t spawn_in_namespace(pid_t pid, void (*become)(void *), void *argument)
{
	int sockets[2], on = 1;
	bool privileged = geteuid() == 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		refuse("socketpair: %s", strerror(errno));
	setsockopt(sockets[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | (privileged ? 0 : CLONE_NEWUSER);
	segments_outside = !privileged && shared_needs_ipc_namespace();
	if (segments_outside)
		flags |= CLONE_NEWIPC;
	namespace_init = clone_process(flags, 0);
	if (namespace_init < 0)
		refuse("process number %d is taken or may not be chosen, and a pid namespace is not permitted either "
		       "(%s): allow user namespaces (kernel.unprivileged_userns_clone, "
		       "kernel.apparmor_restrict_unprivileged_userns) or run as root",
		       pid, strerror(errno));
	if (namespace_init == 0) {
		close(sockets[0]);
		run_init(pid, sockets[1], become, argument);
	}
	close(sockets[1]);
	if (!privileged)
		map_user(namespace_init);
	status_socket = sockets[0];
	/* SIGIO tells of messages. */
	fcntl(status_socket, F_SETOWN, getpid());
	fcntl(status_socket, F_SETFL, O_ASYNC);
	if (write(status_socket, "", 1) != 1)
		refuse("the namespace ended early");
	pid_t outside = receive_introduction(status_socket);
	if (outside < 0)
		exit(EXIT_TOOL_FAILED); /* it has said why */
	return outside;
}

/* ---- the wait ---- */

/* A signal from the terminal reaches the program by itself when it is in our process group. */
static void forward(const siginfo_t *info)
{
	if (info->si_signo == SIGIO)
		return;
	if (!session_gets_signals(child) || info->si_code == SI_USER || info->si_code == SI_QUEUE ||
	    info->si_code == SI_TKILL)
		kill(child, info->si_signo);
}

/* What the namespace's init says: the process was stopped, or has ended with *status. */
static bool receive_status(int *status)
{
	while (recv(status_socket, status, sizeof(*status), MSG_DONTWAIT) == (ssize_t)sizeof(*status)) {
		if (!WIFSTOPPED(*status))
			return true;
		session_stopped(child);
	}
	return false;
}

/* The status of the process, once it has ended; false while it lives. */
static bool collect(int *status)
{
	if (namespace_init) {
		bool ended = receive_status(status);
		if (!ended && waitpid(namespace_init, status, WNOHANG) != namespace_init)
			return false;
		if (!ended && !receive_status(status))
			*status = EXIT_TOOL_FAILED << 8;
		return true;
	}
	while (waitpid(child, status, WNOHANG | WUNTRACED) == child) {
		if (!WIFSTOPPED(*status))
			return true;
		session_stopped(child);
	}
	return false;
}

static void unblock_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* They stay until then: a restore that fails loses nothing. */
static void remove_segments_once_running(void)
{
	if (!segments_outside || *PLAN_OUTCOME != RESTORE_RUNNING)
		return;
	shared_remove_outside();
	segments_outside = false;
}

/* The program cannot name us to tell that it runs: while that matters, we look again soon. */
static int wait_for_signal(const sigset_t *set, siginfo_t *info)
{
	static const struct timespec soon = {.tv_nsec = 20000000};
	return segments_outside ? sigtimedwait(set, info, &soon) : sigwaitinfo(set, info);
}

static int wait_and_forward(void)
{
	sigset_t all;
	siginfo_t info;
	int status;
	sigfillset(&all);
	sigdelset(&all, SIGTSTP);
	sigdelset(&all, SIGTTIN);
	sigdelset(&all, SIGTTOU);
	sigprocmask(SIG_SETMASK, &all, NULL);
	while (!collect(&status)) {
		remove_segments_once_running();
		if (wait_for_signal(&all, &info) > 0 && info.si_signo != SIGCHLD)
			forward(&info);
	}
	remove_segments_once_running();
	return status;
}

/* Until the signals are waited for; in the process, unblocked again. */
static void block_message_signal(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGIO);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* The restorer says here how far it came. */
static void map_outcome(void)
{
	void *page = mmap((void *)RT_RESTORER_BASE, 4096, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page != (void *)RT_RESTORER_BASE)
		refuse("cannot map the restorer's page: %s", strerror(errno));
	*PLAN_MESSAGE_FD = STDERR_FILENO;
}

/* False: a time namespace is needed, and only within a user namespace it may be had. */
static bool try_clocks(void)
{
	int result = clocks_need_namespace() ? clocks_make_namespace() : 0;
	if (result < 0 && geteuid() == 0)
		clocks_report(result);
	return result == 0 || geteuid() == 0;
}

int run_with_pid(pid_t pid, void (*become)(void *), void *argument, void (*started)(pid_t))
{
	map_outcome();
	child = try_clocks() ? clone_process(0, pid) : -1;
	if (child == 0) {
		become(argument);
		_exit(EXIT_TOOL_FAILED);
	}
	if (child > 0) {
		started(child);
		int status = wait_and_forward();
		if (*PLAN_OUTCOME != RESTORE_NUMBER_TAKEN)
			return status;
		*PLAN_OUTCOME = RESTORE_PREPARING;
		session_ended(0);
		unblock_signals();
	}
	block_message_signal();
	child = spawn_in_namespace(pid, become, argument);
	started(child);
	int status = wait_and_forward();
	if (*PLAN_OUTCOME == RESTORE_NUMBER_TAKEN)
		report("the numbers of the program's threads and children cannot all be had: the store is damaged");
	return status;
}
