/* Files that are cut, by every call that can, and grow again: they come back with the bytes that were cut. */
#include "file_model.h"

#define FILE_BYTES 60000

static struct file_model model;

static void cut(int fd, size_t length, uint64_t how)
{
	FILE *stream;
	int other;

	switch (how) {
	case 0:
		CHECK_EQUAL(ftruncate(fd, (off_t)length), 0);
		model.length = length;
		break;
	case 1:
		CHECK_EQUAL(truncate(model.name, (off_t)length), 0);
		model.length = length;
		break;
	case 2:
		other = open(model.name, O_WRONLY | O_TRUNC);
		CHECK(other >= 0);
		CHECK_EQUAL(close(other), 0);
		model.length = 0;
		break;
	case 3:
		other = creat(model.name, 0600);
		CHECK(other >= 0);
		CHECK_EQUAL(close(other), 0);
		model.length = 0;
		break;
	case 4:
		stream = fopen(model.name, "w");
		CHECK(stream);
		CHECK_EQUAL(fclose(stream), 0);
		model.length = 0;
		break;
	case 5:
		stream = fopen(model.name, "r");
		stream = freopen(model.name, "w", stream);
		CHECK(stream);
		CHECK_EQUAL(fclose(stream), 0);
		model.length = 0;
		break;
	}
}

/* At the end of the file: by a descriptor that is opened for it, the old one, or stdio. */
static void append(int fd, size_t length, uint64_t how)
{
	unsigned char *bytes = model.bytes + model.length;
	FILE *stream;
	int other;

	model_fill(&model, model.length, length);
	switch (how) {
	case 0:
		other = open(model.name, O_WRONLY | O_APPEND);
		CHECK(other >= 0);
		CHECK_EQUAL(write(other, bytes, length), length);
		CHECK_EQUAL(close(other), 0);
		break;
	case 1: CHECK_EQUAL(pwrite(fd, bytes, length, (off_t)model.length), length); break;
	case 2:
		stream = fopen(model.name, "a");
		CHECK(stream);
		CHECK_EQUAL(fwrite(bytes, 1, length, stream), length);
		CHECK_EQUAL(fclose(stream), 0);
		break;
	}
	model.length += length;
}

/* A file that is not open at a checkpoint must not have grown after a restore either. */
static void log_line(long number)
{
	char text[32];
	struct stat status;
	int fd = open("lines", O_WRONLY | O_CREAT | O_APPEND, 0644);

	CHECK(fd >= 0);
	snprintf(text, sizeof(text), "%09ld\n", number);
	CHECK_EQUAL(write(fd, text, 10), 10);
	CHECK_EQUAL(fstat(fd, &status), 0);
	CHECK_EQUAL(status.st_size, 10 * (number + 1));
	CHECK_EQUAL(close(fd), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 14000), i;
	int fd;

	model_create(&model, "data", 1000);
	fd = open(model.name, O_RDWR);
	CHECK(fd >= 0);
	for (i = 0; i < rounds; i++) {
		uint64_t choice = next_random(&model.random);

		if (model.length > FILE_BYTES || choice % 16 == 0)
			cut(fd, choice / 64 % (model.length + 1), choice / 16 % 6);
		else
			append(fd, 1 + choice / 64 % 4000, choice / 16 % 3);
		model_check_all(&model);
		log_line(i);
		spin(0, 10000);
	}
	printf("file_truncate: %016llx\n", (unsigned long long)model_hash(&model));
	return 0;
}
