/*
 * A pseudo-terminal with both ends in the process: modes and window size stay, messages go both
 * ways, a slave that is opened again by its name is the same terminal. What is unread at a kill may
 * be lost: what does not arrive is sent again.
 */
#define _XOPEN_SOURCE 600
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "victim.h"

#define PATIENCE_MS 200

static int master, slave;

static void check_modes(long round, speed_t speed)
{
	struct termios settings;
	struct winsize size;
	CHECK_EQUAL(tcgetattr(slave, &settings), 0);
	CHECK_EQUAL(settings.c_lflag & (ICANON | ECHO), 0);
	CHECK_EQUAL(settings.c_oflag & OPOST, 0);
	CHECK_EQUAL(settings.c_cc[VINTR], 1 + round % 100);
	CHECK_EQUAL(cfgetospeed(&settings), speed);
	CHECK_EQUAL(ioctl(master, TIOCGWINSZ, &size), 0);
	CHECK_EQUAL(size.ws_row, 1 + round % 200);
	CHECK_EQUAL(size.ws_col, 7);
}

static void set_modes(long round)
{
	struct termios settings;
	struct winsize size = {.ws_row = (unsigned short)(1 + round % 200), .ws_col = 7};
	CHECK_EQUAL(tcgetattr(slave, &settings), 0);
	cfmakeraw(&settings);
	cfsetspeed(&settings, B19200);
	settings.c_cc[VINTR] = (cc_t)(1 + round % 100);
	CHECK_EQUAL(tcsetattr(slave, TCSANOW, &settings), 0);
	CHECK_EQUAL(ioctl(slave, TIOCSWINSZ, &size), 0);
}

/* Receives the message of this round; false when it does not come. Older ones are passed over. */
static bool receive(int fd, uint64_t round)
{
	uint64_t got = ~0UL;
	while (got != round) {
		struct pollfd entry = {.fd = fd, .events = POLLIN};
		if (poll(&entry, 1, PATIENCE_MS) == 0)
			return false;
		CHECK_EQUAL(entry.revents & POLLHUP, 0);
		ssize_t length = read(fd, &got, sizeof(got));
		CHECK(length > 0 || errno == EAGAIN);
		if (length != sizeof(got)) /* the rest was lost, or all of it since the poll() */
			return false;
	}
	return true;
}

static void exchange(int from, int to, uint64_t round)
{
	do {
		tcflush(slave, TCIOFLUSH);
		CHECK_EQUAL(write(from, &round, sizeof(round)), sizeof(round));
	} while (!receive(to, round));
}

int main(int argc, char **argv)
{
	long work = victim_work(argc, argv, 6000), round;
	char name[64];

	master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (master < 0)
		return 77;
	CHECK_EQUAL(grantpt(master), 0);
	CHECK_EQUAL(unlockpt(master), 0);
	CHECK_EQUAL(ptsname_r(master, name, sizeof(name)), 0);
	slave = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(slave >= 0);
	for (round = 0; round < work; round++) {
		set_modes(round);
		spin((uint64_t)round, 2000);
		check_modes(round, B19200);
		exchange(master, slave, (uint64_t)round);
		exchange(slave, master, (uint64_t)round);
		check_modes(round, B19200);
		CHECK(isatty(slave));
	}
	printf("pty: %ld rounds\n", round);
	return 0;
}
