/* writer FILE: writes to the file, takes a checkpoint, says so; some times. It never syncs anything. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/respct.h"

int respct_checkpoint(void) __attribute__((weak));

int main(int argc, char **argv)
{
	static char memory[64 * 4096];
	int file = argc > 1 ? open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
	if (file < 0 || respct_checkpoint == NULL)
		return 1;
	for (int round = 0; round < 8; round++) {
		char line[32];
		memset(memory, round, sizeof(memory));
		if (write(file, memory, 4096) != 4096 || respct_checkpoint() != 0)
			return 1;
		int length = snprintf(line, sizeof(line), "acknowledged %d\n", round);
		if (write(1, line, (size_t)length) != length)
			return 1;
	}
	return 0;
}
