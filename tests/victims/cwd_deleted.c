/* A working directory that has been removed: nothing can be made in it, its name is gone, and the program goes on. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "victim.h"

static void check_gone(void)
{
	char path[PATH_MAX];
	struct stat status;

	CHECK(getcwd(path, sizeof(path)) == NULL);
	CHECK_EQUAL(errno, ENOENT);
	CHECK_EQUAL(open("file", O_WRONLY | O_CREAT, 0600), -1);
	CHECK_EQUAL(errno, ENOENT);
	CHECK_EQUAL(stat(".", &status), 0);
	CHECK(S_ISDIR(status.st_mode));
	CHECK_EQUAL(status.st_nlink, 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 7900), i;
	uint64_t value = 0;

	CHECK_EQUAL(mkdir("gone", 0700), 0);
	CHECK_EQUAL(chdir("gone"), 0);
	CHECK_EQUAL(rmdir("../gone"), 0);
	for (i = 0; i < rounds; i++) {
		check_gone();
		value = spin(value, 20000);
	}
	printf("cwd_deleted: %016llx\n", (unsigned long long)value);
	return 0;
}
