/* Bytes overwritten in place, by every call that can, come back to what they were at the checkpoint: each
 * round reads what it is about to overwrite and compares it with memory. */
#include "file_model.h"

#define FILE_BYTES 100000
#define PIECE 3000

static struct file_model models[2];

static void overwrite(struct file_model *model, int fd, int write_only, int source, size_t start, size_t length)
{
	unsigned char *bytes = model->bytes + start;
	struct iovec vectors[2] = {{bytes, length / 3}, {bytes + length / 3, length - length / 3}};
	off_t at = (off_t)start, from = 0;

	model_fill(model, start, length);
	switch (next_random(&model->random) % 9) {
	case 0: CHECK_EQUAL(pwrite(fd, bytes, length, at), length); break;
	case 1:
		CHECK_EQUAL(lseek(fd, at, SEEK_SET), at);
		CHECK_EQUAL(write(fd, bytes, length), length);
		break;
	case 2: CHECK_EQUAL(pwritev(fd, vectors, 2, at), length); break;
	case 3:
		CHECK_EQUAL(lseek(fd, at, SEEK_SET), at);
		CHECK_EQUAL(writev(fd, vectors, 2), length);
		break;
	case 4: CHECK_EQUAL(pwritev2(fd, vectors, 2, at, 0), length); break;
	case 5:
		CHECK_EQUAL(lseek(fd, at, SEEK_SET), at);
		CHECK_EQUAL(pwritev2(fd, vectors, 2, -1, 0), length);
		break;
	case 6: CHECK_EQUAL(pwrite(write_only, bytes, length, at), length); break;
	case 7:
		CHECK_EQUAL(pwrite(source, bytes, length, 0), length);
		CHECK_EQUAL(copy_file_range(source, &from, fd, &at, length, 0), length);
		break;
	case 8:
		memset(bytes, 0, length);
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)length))
			CHECK_EQUAL(pwrite(fd, bytes, length, at), length);
		break;
	}
}

static long rounds;

static void *work(void *argument)
{
	struct file_model *model = &models[(intptr_t)argument];
	char *source_name = (intptr_t)argument ? "source1" : "source0";
	int fd, write_only, source;
	long i;

	model->random = (uint64_t)(intptr_t)argument;
	model_create(model, (intptr_t)argument ? "data1" : "data0", FILE_BYTES);
	fd = open(model->name, O_RDWR);
	write_only = open(model->name, O_WRONLY);
	source = open(source_name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write_only >= 0 && source >= 0);
	for (i = 0; i < rounds; i++) {
		size_t start = next_random(&model->random) % (FILE_BYTES - PIECE);
		size_t length = 1 + next_random(&model->random) % PIECE;

		model_check(model, fd, start, length);
		overwrite(model, fd, write_only, source, start, length);
		if (i % 512 == 0)
			model_check_all(model);
		spin(0, 3000);
	}
	model_check_all(model);
	return NULL;
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 23000);
	run_threads(2, work);
	printf("file_overwrite: %016llx %016llx\n", (unsigned long long)model_hash(&models[0]),
	       (unsigned long long)model_hash(&models[1]));
	return 0;
}
