/* What must not exist when it is made, does not exist when a restored program makes it again: files, lock files,
 * directories, links, FIFOs, temporary files. Each name is used once. */
#include "file_model.h"

static long made;

static const char *next_name(char *name, const char *kind)
{
	sprintf(name, "%s%ld", kind, made++);
	return name;
}

/* A lock by link(), as mail programs do it. */
static void take_link_lock(char *name)
{
	char lock[64];
	struct stat status;
	int fd = open(next_name(name, "unique"), O_WRONLY | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0);
	CHECK_EQUAL(write(fd, "x", 1), 1);
	CHECK_EQUAL(close(fd), 0);
	CHECK_EQUAL(link(name, next_name(lock, "lock")), 0);
	CHECK_EQUAL(stat(name, &status), 0);
	CHECK_EQUAL(status.st_nlink, 2);
	CHECK_EQUAL(unlink(name), 0);
	CHECK_EQUAL(link("base", next_name(lock, "lock")), 0);
}

static void make_temporary(void)
{
	char pattern[32] = "temporaryXXXXXX", directory[32] = "placeXXXXXX";
	int fd = mkstemp(pattern);

	CHECK(fd >= 0);
	CHECK_EQUAL(write(fd, "12345", 5), 5);
	CHECK_EQUAL(close(fd), 0);
	CHECK(mkdtemp(directory));
}

static void make_all(void)
{
	char name[64];
	FILE *stream;
	int fd;

	fd = open(next_name(name, "file"), O_RDWR | O_CREAT | O_EXCL, 0644);
	CHECK(fd >= 0);
	CHECK_EQUAL(write(fd, name, sizeof(name)), sizeof(name));
	CHECK_EQUAL(close(fd), 0);
	stream = fopen(next_name(name, "stream"), "wx");
	CHECK(stream);
	CHECK(fprintf(stream, "%ld\n", made) > 0);
	CHECK_EQUAL(fclose(stream), 0);
	CHECK_EQUAL(mkdir(next_name(name, "directory"), 0700), 0);
	CHECK_EQUAL(symlink("target", next_name(name, "symlink")), 0);
	CHECK_EQUAL(mkfifo(next_name(name, "fifo"), 0600), 0);
	take_link_lock(name);
	make_temporary();
}

/* How many files there are: none more than have been made. */
static long count_files(void)
{
	FILE *list = popen("ls | wc -l", "r");
	long count;

	CHECK(list);
	CHECK_EQUAL(fscanf(list, "%ld", &count), 1);
	CHECK_EQUAL(pclose(list), 0);
	return count;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 720), i;
	int fd = open("base", O_WRONLY | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0);
	CHECK_EQUAL(close(fd), 0);
	for (i = 0; i < rounds; i++) {
		make_all();
		spin(0, 200000);
	}
	printf("file_create_exclusive: %ld %ld\n", made, count_files());
	return 0;
}
