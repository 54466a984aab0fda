/* Eventfds between threads: counting and semaphore mode, blocking both ways; no count is lost. */
#include <sys/eventfd.h>

#include "victim.h"

static int counter, semaphore, full; /* eventfds */
static long rounds;

static void *add(void *argument)
{
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		uint64_t amount = 1 + mix((uint64_t)i) % 10;

		CHECK_EQUAL(write(counter, &amount, 8), 8);
		if (i % 4096 == 0)
			usleep(2000);
	}
	return NULL;
}

static void *take_all(void *argument)
{
	uint64_t expected = 0, got = 0, value;
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++)
		expected += 1 + mix((uint64_t)i) % 10;
	while (got < expected) {
		CHECK_EQUAL(read(counter, &value, 8), 8);
		CHECK(value > 0);
		got += value;
	}
	CHECK(got == expected);
	return NULL;
}

/* A hand-over: the value passes through an eventfd that is full, so the writer blocks. */
static void *fill_up(void *argument)
{
	uint64_t most = UINT64_MAX - 1, one = 1;
	long i;

	(void)argument;
	CHECK_EQUAL(write(full, &most, 8), 8);
	for (i = 0; i < rounds / 4; i++) {
		CHECK_EQUAL(write(semaphore, &one, 8), 8);
		CHECK_EQUAL(write(full, &most, 8), 8); /* blocks until it has been emptied */
	}
	return NULL;
}

static void *empty(void *argument)
{
	uint64_t value;
	long i;

	(void)argument;
	for (i = 0; i < rounds / 4; i++) {
		CHECK_EQUAL(read(semaphore, &value, 8), 8);
		CHECK_EQUAL(value, 1);
		CHECK_EQUAL(read(full, &value, 8), 8);
		CHECK(value == UINT64_MAX - 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static void *(*const functions[])(void *) = {add, take_all, fill_up, empty};
	pthread_t threads[4];
	uint64_t value;
	int i;

	rounds = victim_work(argc, argv, 210000);
	counter = eventfd(0, 0);
	semaphore = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	full = eventfd(0, 0);
	for (i = 0; i < 4; i++)
		threads[i] = start_thread(functions[i], NULL);
	for (i = 0; i < 4; i++)
		join_thread(threads[i]);
	CHECK_EQUAL(read(full, &value, 8), 8);
	printf("eventfd: %ld, left %llu\n", rounds, (unsigned long long)value);
	return 0;
}
