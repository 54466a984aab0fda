/*
 * linker: makes the file `first`, and links it to `folder/second` at once; when a file called `go` is there, removes
 * `first`, makes `gone`, and waits until `end` is there.
 */
#include <fcntl.h>
#include <unistd.h>

static void await(const char *path)
{
	while (access(path, F_OK))
		usleep(1000);
}

static int make(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	return fd < 0 || write(fd, path, 4) != 4 || close(fd);
}

int main(void)
{
	if (make("first") || link("first", "folder/second"))
		return 1;
	await("go");
	if (unlink("first") || make("gone"))
		return 1;
	await("end");
	return 0;
}
