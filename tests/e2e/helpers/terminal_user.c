/*
 * Sets modes of its own on its terminal and says "ready" again and again. When the key it has chosen
 * for SIGINT is pressed, it checks that modes, process group and foreground are what they were, and
 * ends with 3.
 */
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define INTERRUPT_KEY 0x18

static volatile sig_atomic_t interrupted, continued, resized;

static void note(int number)
{
	if (number == SIGINT)
		interrupted = 1;
	else if (number == SIGCONT)
		continued = 1;
	else
		resized = 1;
}

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		_exit(9);
}

/* Forgets it first: who reads the text may have the signal sent again at once. */
static void say_once(volatile sig_atomic_t *happened, const char *text)
{
	if (!*happened)
		return;
	*happened = 0;
	say(text);
}

static bool modes_are_kept(void)
{
	struct termios settings;
	return tcgetattr(0, &settings) == 0 && settings.c_cc[VINTR] == INTERRUPT_KEY && !(settings.c_lflag & ECHO);
}

int main(void)
{
	struct termios settings;
	pid_t group = getpgrp();
	signal(SIGINT, note);
	signal(SIGCONT, note);
	signal(SIGWINCH, note);
	tcgetattr(0, &settings);
	settings.c_cc[VINTR] = INTERRUPT_KEY;
	settings.c_lflag &= (tcflag_t)~ECHO;
	tcsetattr(0, TCSANOW, &settings);
	while (!interrupted) {
		say("ready\n");
		usleep(50000);
		say_once(&continued, "continued\n");
		say_once(&resized, "resized\n");
	}
	say(modes_are_kept() ? "modes kept\n" : "modes lost\n");
	say(getpgrp() == group && (group != getpid() || tcgetpgrp(0) == group) ? "group kept\n" : "group lost\n");
	return 3;
}
