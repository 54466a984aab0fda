/* Files, links and directories that are removed come back with contents, mode and times as long as the
 * checkpoint knows them; those that the program makes anew afterwards are not in its way. */
#include "file_model.h"

#define FILES 12
#define FILE_BYTES 9000

static struct file_model models[FILES];
static bool present[FILES];
static char names[FILES][32];
static const mode_t modes[] = {0644, 0600, 0444, 0755};

static void make(int i)
{
	int fd = open(names[i], O_WRONLY | O_CREAT | O_EXCL, 0600);

	CHECK(fd >= 0);
	models[i].name = names[i];
	models[i].length = next_random(&models[i].random) % FILE_BYTES;
	model_fill(&models[i], 0, models[i].length);
	CHECK_EQUAL(write(fd, models[i].bytes, models[i].length), models[i].length);
	CHECK_EQUAL(fchmod(fd, modes[models[i].length % 4]), 0);
	CHECK_EQUAL(close(fd), 0);
	present[i] = true;
}

static void check(int i)
{
	struct stat status;

	if (present[i]) {
		model_check_all(&models[i]);
		CHECK_EQUAL(lstat(names[i], &status), 0);
		CHECK_EQUAL(status.st_mode & 07777, modes[models[i].length % 4]);
	} else {
		CHECK_EQUAL(lstat(names[i], &status), -1);
		CHECK_EQUAL(errno, ENOENT);
	}
}

static void take_away(int i, uint64_t how)
{
	if (how == 0)
		CHECK_EQUAL(unlink(names[i]), 0);
	else if (how == 1)
		CHECK_EQUAL(remove(names[i]), 0);
	else
		CHECK_EQUAL(unlinkat(AT_FDCWD, names[i], 0), 0);
	present[i] = false;
}

/* One that stays open: its descriptor goes on with it. */
static void rewrite_open_file(long round)
{
	static int fd = -1;
	char text[32];

	if (fd < 0) {
		fd = open("journal", O_RDWR | O_CREAT | O_EXCL, 0600);
		CHECK(fd >= 0);
		CHECK_EQUAL(pwrite(fd, &round, sizeof(round), 0), sizeof(round));
		CHECK_EQUAL(pwrite(fd, text, sizeof(text), 8), sizeof(text));
	} else {
		CHECK_EQUAL(close(fd), 0);
		fd = -1;
		CHECK_EQUAL(unlink("journal"), 0);
	}
}

/* A directory and a symbolic link that come and go. */
static void toggle_others(bool there)
{
	char target[16];

	if (there) {
		CHECK_EQUAL(readlink("link", target, sizeof(target)), 6);
		CHECK_EQUAL(unlink("link"), 0);
		CHECK_EQUAL(unlink("folder/file"), 0);
		CHECK_EQUAL(rmdir("folder"), 0);
	} else {
		FILE *stream;

		CHECK_EQUAL(symlink("folder", "link"), 0);
		CHECK_EQUAL(mkdir("folder", 0750), 0);
		stream = fopen("link/file", "wx");
		CHECK(stream);
		CHECK_EQUAL(fclose(stream), 0);
	}
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 4500), round;
	uint64_t random = 7, hash = 0;
	int i;

	for (i = 0; i < FILES; i++) {
		snprintf(names[i], sizeof(names[i]), "file%d", i);
		models[i].random = (uint64_t)i;
	}
	for (round = 0; round < rounds; round++) {
		uint64_t choice = next_random(&random);

		i = (int)(choice % FILES);
		check(i);
		if (present[i])
			take_away(i, choice / 256 % 3);
		else
			make(i);
		check((int)(choice / 1024 % FILES));
		rewrite_open_file(round);
		toggle_others(round % 2);
		spin(0, 30000);
	}
	for (i = 0; i < FILES; i++) {
		check(i);
		hash = mix(hash ^ (present[i] ? model_hash(&models[i]) : 0));
	}
	printf("file_unlink: %016llx\n", (unsigned long long)hash);
	return 0;
}
