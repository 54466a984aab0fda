/*
 * worker STEPS [HOW]: prints a line in each of STEPS steps of 5 ms, and what it has computed at the end. A program for
 * `respct crash`; HOW says what is wrong with it:
 *
 *   ends-when-restored    ends with status 3 when its parent is another, as after a restore
 *   prints-when-restored  prints a line more then
 *   hangs-when-restored   does nothing any more then
 *   aborts                ends by SIGABRT after half of the steps
 *   serves                goes on until SIGTERM comes, then ends with 0
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
	(void)signal_number;
	stopped = 1;
}

static bool is(const char *how, const char *what)
{
	return strcmp(how, what) == 0;
}

static void when_restored(const char *how)
{
	if (is(how, "ends-when-restored"))
		exit(3);
	if (is(how, "prints-when-restored"))
		puts("restored");
	while (is(how, "hangs-when-restored"))
		pause();
}

int main(int argc, char **argv)
{
	int steps = argc > 1 ? atoi(argv[1]) : 100, step;
	const char *how = argc > 2 ? argv[2] : "";
	pid_t parent = getppid();
	uint64_t sum = 0;

	signal(SIGTERM, stop);
	for (step = 0; !stopped && (step < steps || is(how, "serves")); step++) {
		sum = sum * 6364136223846793005 + (uint64_t)step;
		if (!is(how, "serves"))
			printf("step %d\n", step);
		fflush(stdout);
		if (getppid() != parent) {
			when_restored(how);
			parent = getppid();
		}
		if (is(how, "aborts") && step == steps / 2)
			abort();
		usleep(5000);
	}
	if (!is(how, "serves"))
		printf("%016llx\n", (unsigned long long)sum);
	return 0;
}
