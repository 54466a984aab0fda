/* A file and what it must contain, for the victims that change files in place. */
#ifndef FILE_MODEL_H
#define FILE_MODEL_H

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "victim.h"

#define MODEL_LIMIT 262144

struct file_model {
	const char *name;
	uint64_t random;
	size_t length;
	unsigned char bytes[MODEL_LIMIT];
};

static inline void model_fill(struct file_model *model, size_t start, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		model->bytes[start + i] = (unsigned char)next_random(&model->random);
}

/* The whole file is what the model says. */
static inline void model_check_all(const struct file_model *model)
{
	static __thread unsigned char bytes[MODEL_LIMIT + 1];
	struct stat status;
	int fd = open(model->name, O_RDONLY);

	CHECK(fd >= 0);
	CHECK_EQUAL(fstat(fd, &status), 0);
	CHECK_EQUAL(status.st_size, model->length);
	CHECK_EQUAL(read(fd, bytes, sizeof(bytes)), model->length);
	CHECK(memcmp(bytes, model->bytes, model->length) == 0);
	CHECK_EQUAL(close(fd), 0);
}

/* A piece of it is. */
static inline void model_check(const struct file_model *model, int fd, size_t start, size_t length)
{
	unsigned char bytes[8192];

	CHECK(length <= sizeof(bytes));
	CHECK_EQUAL(pread(fd, bytes, length, (off_t)start), length);
	CHECK(memcmp(bytes, model->bytes + start, length) == 0);
}

static inline uint64_t model_hash(const struct file_model *model)
{
	uint64_t hash = model->length;
	size_t i;

	for (i = 0; i < model->length; i++)
		hash = mix(hash ^ model->bytes[i]);
	return hash;
}

static inline void model_create(struct file_model *model, const char *name, size_t length)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

	model->name = name;
	model->length = length;
	model_fill(model, 0, length);
	CHECK(fd >= 0);
	CHECK_EQUAL(write(fd, model->bytes, length), length);
	CHECK_EQUAL(close(fd), 0);
}

#endif
