/* A JIT that never has a page writable and executable: its memory is mapped twice, once to write and
 * once to run. The memfd is closed or still open. */
#include <sys/mman.h>

#include "victim.h"

#define BUFFERS 2
#define FUNCTIONS 256
#define SLOT 16
#define SIZE (FUNCTIONS * SLOT)

struct buffer {
	unsigned char *written, *run;
	uint64_t constants[FUNCTIONS];
};

static struct buffer buffers[BUFFERS];

/* mov $constant, %rax; add %rdi, %rax; ret */
static void emit(unsigned char *code, uint64_t constant)
{
	static const unsigned char tail[] = {0x48, 0x01, 0xf8, 0xc3};

	code[0] = 0x48;
	code[1] = 0xb8;
	memcpy(code + 2, &constant, 8);
	memcpy(code + 10, tail, sizeof(tail));
}

static uint64_t call(const void *code, uint64_t argument)
{
	uint64_t (*function)(uint64_t);

	memcpy(&function, &code, sizeof(function));
	return function(argument);
}

static void map_buffer(struct buffer *buffer, bool keep_open)
{
	int fd = memfd_create("code", MFD_CLOEXEC);

	CHECK(fd >= 0 && ftruncate(fd, SIZE) == 0);
	buffer->written = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	buffer->run = mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	CHECK(buffer->written != MAP_FAILED && buffer->run != MAP_FAILED);
	if (!keep_open)
		close(fd);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 4400000), i;
	uint64_t random = 6, sum = 0;

	for (i = 0; i < BUFFERS; i++)
		map_buffer(&buffers[i], i == 0);
	for (i = 0; i < rounds; i++) {
		struct buffer *buffer = &buffers[i % BUFFERS];
		uint64_t which = next_random(&random) % FUNCTIONS, other = random % FUNCTIONS;

		buffer->constants[which] = next_random(&random);
		emit(buffer->written + which * SLOT, buffer->constants[which]);
		CHECK_EQUAL(call(buffer->run + which * SLOT, (uint64_t)i), buffer->constants[which] + (uint64_t)i);
		if (buffer->constants[other] != 0)
			sum = mix(sum + call(buffer->run + other * SLOT, sum));
	}
	printf("jit_dual: %llu\n", (unsigned long long)sum);
	return 0;
}
