/* A file that another process renames, as one that rotates logs does: it stays open, and what is written goes on
 * behind what was written. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "victim.h"

/* In a child, whose doings are not undone. */
static void rename_outside(void)
{
	int status = 0;

	do {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0)
			_exit(rename("log", "log.1") != 0 && rename("log.1", "log") != 0);
		CHECK_EQUAL(waitpid(child, &status, 0), child);
	} while (WIFSIGNALED(status));
	CHECK_EQUAL(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 1200), i;
	int fd = open("log", O_RDWR | O_CREAT | O_APPEND, 0600);
	struct stat status;
	long line;

	CHECK(fd >= 0);
	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(write(fd, &i, sizeof(i)), sizeof(i));
		rename_outside();
		CHECK_EQUAL(fstat(fd, &status), 0);
		CHECK_EQUAL(status.st_nlink, 1);
		CHECK_EQUAL(status.st_size, (i + 1) * (long)sizeof(i));
		CHECK_EQUAL(pread(fd, &line, sizeof(line), i / 2 * (long)sizeof(i)), sizeof(line));
		CHECK_EQUAL(line, i / 2);
		spin(0, 100000);
	}
	printf("file_renamed_outside: %ld\n", i);
	return 0;
}
