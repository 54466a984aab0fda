/* Flags and owners of open files are what the program has set: O_APPEND, O_NONBLOCK, O_ASYNC, FD_CLOEXEC, the
 * process and the signal that tell of input; an appended line is at the end. */
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "victim.h"

static volatile sig_atomic_t told;

static void note(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	if (info->si_code == POLL_IN)
		told++;
}

static void append(int fd, long line)
{
	struct stat status;

	CHECK_EQUAL(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQUAL(write(fd, "line\n", 5), 5);
	CHECK_EQUAL(fstat(fd, &status), 0);
	CHECK_EQUAL(status.st_size, 5 * (line + 1));
}

static void check_flags(int plain, int append_fd, int pair, int number)
{
	struct f_owner_ex owner;

	CHECK_EQUAL(fcntl(plain, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_ASYNC | O_NOATIME),
		    O_RDWR | O_NOATIME);
	CHECK_EQUAL(fcntl(plain, F_GETFD), FD_CLOEXEC);
	CHECK_EQUAL(fcntl(append_fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
	CHECK_EQUAL(fcntl(append_fd, F_GETFD), 0);
	CHECK_EQUAL(fcntl(pair, F_GETFL) & (O_NONBLOCK | O_ASYNC), O_NONBLOCK | O_ASYNC);
	CHECK_EQUAL(fcntl(pair, F_GETSIG), number);
	CHECK_EQUAL(fcntl(pair, F_GETOWN_EX, &owner), 0);
	CHECK_EQUAL(owner.type, F_OWNER_PID);
	CHECK_EQUAL(owner.pid, getpid());
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 10000), i;
	int number = SIGRTMIN + 5, pair[2], plain, append_fd;
	struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct f_owner_ex owner = {F_OWNER_PID, getpid()};
	char byte;

	CHECK_EQUAL(sigaction(number, &action, NULL), 0);
	plain = open("plain", O_RDWR | O_CREAT | O_CLOEXEC | O_NOATIME, 0600);
	append_fd = open("lines", O_WRONLY | O_CREAT | O_APPEND, 0600);
	CHECK(plain >= 0 && append_fd >= 0);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQUAL(fcntl(pair[0], F_SETOWN_EX, &owner), 0);
	CHECK_EQUAL(fcntl(pair[0], F_SETSIG, number), 0);
	CHECK_EQUAL(fcntl(pair[0], F_SETFL, O_NONBLOCK | O_ASYNC), 0);
	for (i = 0; i < rounds; i++) {
		check_flags(plain, append_fd, pair[0], number);
		append(append_fd, i);
		told = 0;
		CHECK_EQUAL(write(pair[1], "x", 1), 1);
		CHECK_EQUAL(told, 1);
		CHECK_EQUAL(read(pair[0], &byte, 1), 1);
		spin(0, 15000);
	}
	printf("file_flags: %ld\n", rounds);
	return 0;
}
