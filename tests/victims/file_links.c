/* A file with several names loses one and keeps the others: after a restore they are still one file. */
#include "file_model.h"

static void check_links(const char *name, nlink_t links)
{
	struct stat status;

	CHECK_EQUAL(stat(name, &status), 0);
	CHECK_EQUAL(status.st_nlink, links);
}

static uint64_t contents(const char *name)
{
	uint64_t value = 0;
	int fd = open(name, O_RDONLY);

	CHECK(fd >= 0);
	CHECK_EQUAL(read(fd, &value, sizeof(value)), sizeof(value));
	CHECK_EQUAL(close(fd), 0);
	return value;
}

static void write_through(const char *name, uint64_t value)
{
	int fd = open(name, O_WRONLY);

	CHECK(fd >= 0);
	CHECK_EQUAL(write(fd, &value, sizeof(value)), sizeof(value));
	CHECK_EQUAL(close(fd), 0);
}

/* Time for a checkpoint between any two steps. */
static void pause_here(void)
{
	spin(0, 1000000);
}

static void one_round(uint64_t number)
{
	int fd = open("first", O_WRONLY | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0);
	CHECK_EQUAL(write(fd, &number, sizeof(number)), sizeof(number));
	CHECK_EQUAL(close(fd), 0);
	pause_here();
	CHECK_EQUAL(link("first", "second"), 0);
	CHECK_EQUAL(link("second", "folder/third"), 0);
	pause_here();
	check_links("first", 3);
	CHECK_EQUAL(unlink("first"), 0);
	pause_here();
	check_links("second", 2);
	write_through("second", number + 1);
	CHECK_EQUAL(contents("folder/third"), number + 1);
	CHECK_EQUAL(link("folder/third", "folder/fourth"), 0);
	pause_here();
	check_links("second", 3);
	CHECK_EQUAL(unlink("folder/third"), 0);
	pause_here();
	write_through("folder/fourth", number + 2);
	CHECK_EQUAL(contents("second"), number + 2);
	CHECK_EQUAL(rename("folder/fourth", "folder/third"), 0);
	pause_here();
	check_links("folder/third", 2);
	CHECK_EQUAL(unlink("second"), 0);
	pause_here();
	check_links("folder/third", 1);
	CHECK_EQUAL(unlink("folder/third"), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 23), i;

	CHECK_EQUAL(mkdir("folder", 0700), 0);
	for (i = 0; i < rounds; i++)
		one_round((uint64_t)i * 16);
	CHECK_EQUAL(rmdir("folder"), 0);
	printf("file_links: %ld\n", rounds);
	return 0;
}
