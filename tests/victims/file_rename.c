/* Names that move: a file is replaced by a new version again and again, two exchange their names, a directory
 * with an open file in it gets another name. What is under each name is always what memory says. */
#include "file_model.h"

#define FILE_BYTES 5000

static struct file_model config;  /* replaced by rename() */
static struct file_model pair[2]; /* exchanged: pair[0] is always "a" */
static struct file_model inside;  /* in the directory */

static void replace_config(void)
{
	int fd = open("config.new", O_WRONLY | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0);
	config.length = 1 + next_random(&config.random) % FILE_BYTES;
	model_fill(&config, 0, config.length);
	CHECK_EQUAL(write(fd, config.bytes, config.length), config.length);
	CHECK_EQUAL(close(fd), 0);
	CHECK_EQUAL(rename("config.new", "config"), 0);
}

static void exchange(void)
{
	static struct file_model spare;

	CHECK_EQUAL(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE), 0);
	memcpy(&spare, &pair[0], sizeof(spare));
	memcpy(&pair[0], &pair[1], sizeof(spare));
	memcpy(&pair[1], &spare, sizeof(spare));
	pair[0].name = "a";
	pair[1].name = "b";
}

static void move_directory(int fd, long round)
{
	const char *from = round % 2 ? "second" : "first", *to = round % 2 ? "first" : "second";
	size_t start = next_random(&inside.random) % (FILE_BYTES - 100);

	CHECK_EQUAL(rename(from, to), 0);
	inside.name = round % 2 ? "first/file" : "second/file";
	model_check(&inside, fd, start, 100);
	model_fill(&inside, start, 100);
	CHECK_EQUAL(pwrite(fd, inside.bytes + start, 100, (off_t)start), 100);
	CHECK_EQUAL(renameat2(AT_FDCWD, to, AT_FDCWD, "a", RENAME_NOREPLACE), -1);
	CHECK_EQUAL(errno, EEXIST);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 3200), round;
	int fd;

	model_create(&config, "config", 10);
	pair[0].random = 1;
	model_create(&pair[0], "a", FILE_BYTES);
	pair[1].random = 2;
	model_create(&pair[1], "b", FILE_BYTES / 2);
	CHECK_EQUAL(mkdir("first", 0755), 0);
	model_create(&inside, "first/file", FILE_BYTES);
	fd = open("first/file", O_RDWR);
	CHECK(fd >= 0);
	for (round = 0; round < rounds; round++) {
		model_check_all(&config);
		replace_config();
		exchange();
		model_check_all(&pair[0]);
		model_check_all(&pair[1]);
		move_directory(fd, round);
		model_check_all(&inside);
		spin(0, 30000);
	}
	printf("file_rename: %016llx %016llx %016llx %016llx\n", (unsigned long long)model_hash(&config),
	       (unsigned long long)model_hash(&pair[0]), (unsigned long long)model_hash(&pair[1]),
	       (unsigned long long)model_hash(&inside));
	return 0;
}
