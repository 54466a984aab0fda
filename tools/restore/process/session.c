/* Session, process group and terminal; see session.h. */
#include "session.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "common/report.h"
#include "descriptor/descriptor.h"

enum role {
	ROLE_MEMBER,         /* of our process group */
	ROLE_GROUP_LEADER,   /* in our session */
	ROLE_SESSION_LEADER, /* without a terminal */
};

static enum role role;
static int terminal = -1;    /* our controlling terminal */
static bool in_foreground;   /* we were, when we started */
static struct termios modes; /* of the terminal, when we started */

/* The first terminal the program had, with what is recorded of it. */
static bool find_terminal(const struct image *image, struct descriptor_terminal *found)
{
	size_t cursor = 0;
	uint32_t length;
	const void *payload;
	while ((payload = image_next(image, &cursor, MANIFEST_DESCRIPTOR, &length)) != NULL) {
		struct manifest_descriptor record;
		if (length < sizeof(record) + sizeof(*found))
			continue;
		memcpy(&record, payload, sizeof(record));
		memcpy(found, (const char *)payload + sizeof(record), sizeof(*found));
		if (record.kind == DESCRIPTOR_TERMINAL && record.payload_length >= sizeof(*found))
			return true;
	}
	return false;
}

void session_prepare(const struct image *image)
{
	const struct manifest_process *process = image->process;
	struct descriptor_terminal had;
	if (process->session == process->pid && !find_terminal(image, &had))
		role = ROLE_SESSION_LEADER;
	else if (process->session == process->pid || process->process_group == process->pid)
		role = ROLE_GROUP_LEADER;
	terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0)
		return;
	if (tcgetattr(terminal, &modes) < 0) {
		close(terminal);
		terminal = -1;
		return;
	}
	in_foreground = tcgetpgrp(terminal) == getpgrp();
}

/* Setting the terminal from the background would stop us. */
static void block_output_stop(sigset_t *before)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	sigprocmask(SIG_BLOCK, &set, before);
}

static void set_foreground(pid_t group)
{
	sigset_t before;
	block_output_stop(&before);
	tcsetpgrp(terminal, group);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

void session_enter(void)
{
	sigset_t before;
	if (role == ROLE_SESSION_LEADER)
		setsid();
	if (role == ROLE_GROUP_LEADER && setpgid(0, 0) == 0 && terminal >= 0 && in_foreground)
		set_foreground(getpgrp());
	/* The terminal's modes are still to be set; the program gets its own mask in the end. */
	block_output_stop(&before);
	if (terminal >= 0)
		close(terminal);
}

bool session_window_changed(const struct image *image)
{
	struct descriptor_terminal had;
	struct winsize size;
	if (!find_terminal(image, &had))
		return false;
	for (int fd = 0; fd <= 2; fd++)
		if (ioctl(fd, TIOCGWINSZ, &size) == 0)
			return size.ws_row != had.rows || size.ws_col != had.columns;
	return false;
}

bool session_gets_signals(pid_t process)
{
	return role == ROLE_MEMBER || (terminal >= 0 && role == ROLE_GROUP_LEADER && tcgetpgrp(terminal) == process);
}

/* The signal that continued us is pending, as all are blocked here. It is handed on by session_stopped(), and must
 * not be once more: a second SIGCONT undoes a stop that came after the first. */
static void forget_continuation(void)
{
	const struct timespec at_once = {0, 0};
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCONT);
	sigtimedwait(&set, NULL, &at_once);
}

void session_stopped(pid_t process)
{
	if (role != ROLE_GROUP_LEADER || terminal < 0 || tcgetpgrp(terminal) != process)
		return;
	set_foreground(getpgrp());
	raise(SIGSTOP);
	forget_continuation();
	if (tcgetpgrp(terminal) == getpgrp())
		set_foreground(process);
	kill(-process, SIGCONT);
}

void session_ended(int status)
{
	sigset_t before;
	if (terminal < 0)
		return;
	block_output_stop(&before);
	if (role == ROLE_GROUP_LEADER && in_foreground)
		tcsetpgrp(terminal, getpgrp());
	if (WIFSIGNALED(status) && tcgetpgrp(terminal) == getpgrp())
		tcsetattr(terminal, TCSADRAIN, &modes);
	sigprocmask(SIG_SETMASK, &before, NULL);
}
