/* A directory that is read slowly: each name comes once, in the order of an undisturbed reading; telldir() and
 * seekdir() lead back to where they led. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "victim.h"

#define NAMES 3000

static unsigned char seen[NAMES];

static void make_names(void)
{
	int i;

	CHECK_EQUAL(mkdir("names", 0755), 0);
	for (i = 0; i < NAMES; i++) {
		char name[64];
		int fd;

		snprintf(name, sizeof(name), "names/a-long-name-so-that-it-takes-more-calls-%d", i);
		fd = open(name, O_WRONLY | O_CREAT, 0600);
		CHECK(fd >= 0);
		CHECK_EQUAL(close(fd), 0);
	}
}

static int number_of(const struct dirent *entry)
{
	return entry->d_name[0] == '.' ? -1 : atoi(strrchr(entry->d_name, '-') + 1);
}

/* Reads all; now and then a piece is read twice. Returns how many names there were. */
static int read_all(DIR *directory)
{
	struct dirent *entry;
	int count = 0, remembered = -1;
	long place = 0;

	memset(seen, 0, sizeof(seen));
	errno = 0;
	while ((entry = readdir(directory)) != NULL) {
		int number = number_of(entry);

		spin(0, 2000);
		if (number < 0)
			continue;
		if (remembered == -2)
			remembered = number;
		else if (remembered >= 0 && count % 50 == 40) {
			seekdir(directory, place);
			entry = readdir(directory);
			CHECK(entry);
			CHECK_EQUAL(number_of(entry), remembered);
			remembered = -3; /* what follows comes a second time */
			memset(seen, 2, sizeof(seen));
		}
		count++;
		if (remembered == -1 && count == 30) {
			place = telldir(directory);
			remembered = -2;
		}
		if (remembered > -3) {
			CHECK_EQUAL(seen[number], 0);
			seen[number] = 1;
		}
	}
	return count;
}

/* Each name once, without going back. */
static void read_once(DIR *directory)
{
	struct dirent *entry;
	int count = 0;

	memset(seen, 0, sizeof(seen));
	errno = 0;
	while ((entry = readdir(directory)) != NULL) {
		int number = number_of(entry);

		spin(0, 2000);
		if (number < 0)
			continue;
		CHECK_EQUAL(seen[number], 0);
		seen[number] = 1;
		count++;
	}
	CHECK_EQUAL(errno, 0);
	CHECK_EQUAL(count, NAMES);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 20), i, sum = 0;
	DIR *directory;

	make_names();
	directory = opendir("names");
	CHECK(directory);
	for (i = 0; i < rounds; i++) {
		rewinddir(directory);
		read_once(directory);
		rewinddir(directory);
		sum += read_all(directory);
	}
	printf("directory_position: %ld\n", sum);
	return 0;
}
