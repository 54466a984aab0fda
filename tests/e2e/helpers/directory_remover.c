/*
 * Makes the directory `below`, works in it, and removes it by way of itself when a file called `go` is above; then makes
 * `removed` there. Ends when `end` is there: 0, or 1 when something of that could not be done.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void await(const char *path)
{
	while (access(path, F_OK))
		usleep(1000);
}

int main(void)
{
	int above;

	if (mkdir("below", 0700) < 0 || chdir("below") < 0 || (above = open("..", O_RDONLY | O_DIRECTORY)) < 0)
		return 1;
	await("../go");
	if (rmdir("../below") < 0 || openat(above, "removed", O_WRONLY | O_CREAT, 0600) < 0)
		return 1;
	while (faccessat(above, "end", F_OK, 0))
		usleep(1000);
	return 0;
}
