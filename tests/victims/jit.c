/* Code written at run time: pages that are written, made executable, called, and made writable again,
 * by several threads; in anonymous memory and in a private mapping of a file. */
#include <fcntl.h>
#include <sys/mman.h>

#include "victim.h"

#define THREADS 3
#define FUNCTIONS 16
#define SLOT 256 /* bytes of a function */

static long rounds;
static uint64_t results[THREADS];

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

static unsigned char *map_code(int index)
{
	void *code;
	char name[32];
	int fd = -1;

	if (index == THREADS - 1) {
		snprintf(name, sizeof(name), "code");
		fd = open(name, O_RDWR | O_CREAT, 0700);
		CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
	}
	code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
	CHECK(code != MAP_FAILED);
	if (fd >= 0)
		close(fd);
	return code;
}

static void *work(void *argument)
{
	int self = (int)(intptr_t)argument, i;
	unsigned char *code = map_code(self);
	uint64_t random = (uint64_t)self, constants[FUNCTIONS] = {0}, sum = 0;
	long round;

	for (round = 0; round < rounds; round++) {
		i = (int)(next_random(&random) % FUNCTIONS);
		constants[i] = next_random(&random);
		CHECK_EQUAL(mprotect(code, PAGE, PROT_READ | PROT_WRITE), 0);
		emit(code + i * SLOT, constants[i]);
		CHECK_EQUAL(mprotect(code, PAGE, PROT_READ | PROT_EXEC), 0);
		for (i = 0; i < FUNCTIONS; i++)
			if (constants[i] != 0)
				CHECK_EQUAL(call(code + i * SLOT, (uint64_t)round), constants[i] + (uint64_t)round);
		sum = mix(sum + constants[round % FUNCTIONS]);
	}
	results[self] = sum;
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t sum = 0;
	int i;

	rounds = victim_work(argc, argv, 22000);
	run_threads(THREADS, work);
	for (i = 0; i < THREADS; i++)
		sum = mix(sum + results[i]);
	printf("jit: %llu\n", (unsigned long long)sum);
	return 0;
}
