/* A program that closes every descriptor but its own, as daemons do, again and again; it is still
 * protected, and the numbers it gets are the lowest free ones. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "victim.h"

static void close_by_limit(void)
{
	struct rlimit limit;
	int fd;

	CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
	for (fd = 3; fd < (limit.rlim_cur < 4096 ? (int)limit.rlim_cur : 4096); fd++)
		close(fd);
}

/* What is listed is the program's: 0, 1, 2 and the one that lists. */
static void close_by_listing(void)
{
	DIR *listing = opendir("/proc/self/fd");
	struct dirent *entry;
	int found = 0;

	CHECK(listing);
	while ((entry = readdir(listing))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		found++;
		if (fd > 2 && fd != dirfd(listing))
			close(fd);
	}
	CHECK(found >= 4);
	closedir(listing);
}

static void close_somehow(long how)
{
	switch (how % 4) {
	case 0: close_by_limit(); break;
	case 1: close_by_listing(); break;
	case 2: CHECK_EQUAL(close_range(3, ~0U, 0), 0); break;
	default: closefrom(3);
	}
}

/* What is open afterwards is what is opened now, at the lowest number. */
static uint64_t use_a_file(long round)
{
	int fd = open("small", O_RDWR | O_CREAT, 0600);
	uint64_t value = mix((uint64_t)round), back = 0;

	CHECK_EQUAL(fd, 3);
	CHECK_EQUAL(pwrite(fd, &value, 8, round * 8), 8);
	usleep(2000);
	CHECK_EQUAL(pread(fd, &back, 8, round * 8), 8);
	CHECK(back == value);
	return back;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 800), i;
	uint64_t sum = 0;

	for (i = 0; i < rounds; i++) {
		sum += use_a_file(i);
		close_somehow(i);
	}
	CHECK_EQUAL(unlink("small"), 0);
	printf("close_all: %llu\n", (unsigned long long)sum);
	return 0;
}
