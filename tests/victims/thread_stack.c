/* What libc says of a thread's stack: its place, its size and its guard, as they were asked for, and as the memory is. */
#include <sys/uio.h>

#include "victim.h"

#define DEFAULT ((size_t)-1)

static const struct kind {
	size_t size, guard; /* bytes, asked for */
	size_t told;        /* of the guard */
} kinds[] = {
	{DEFAULT, DEFAULT, PAGE},   {DEFAULT, 0, 0},
	{DEFAULT, 5000, 2 * PAGE},  {256 * 1024, 100000, 25 * PAGE},
	{64 * 1024, DEFAULT, PAGE}, {64 * 1024 + 1, PAGE, PAGE},
};
#define KINDS ((long)(sizeof(kinds) / sizeof(kinds[0])))

/* Asks the kernel, which does not end the program for it. */
static bool is_readable(const char *address)
{
	char byte;
	struct iovec to = {&byte, 1}, from = {(void *)address, 1};

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

static void check_stack(const struct kind *kind)
{
	pthread_attr_t attributes;
	char *lowest;
	size_t size, guard;

	CHECK_EQUAL(pthread_getattr_np(pthread_self(), &attributes), 0);
	CHECK_EQUAL(pthread_attr_getstack(&attributes, (void **)&lowest, &size), 0);
	CHECK_EQUAL(pthread_attr_getguardsize(&attributes, &guard), 0);
	CHECK_EQUAL(pthread_attr_destroy(&attributes), 0);
	CHECK_EQUAL(guard, kind->told);
	CHECK(size >= (kind->size == DEFAULT ? 1 << 20 : kind->size / PAGE * PAGE)); /* libc may round down */
	CHECK((char *)&size > lowest && (char *)&size < lowest + size);
	CHECK(is_readable(lowest) && is_readable(lowest + size - 1));
	if (guard > 0)
		CHECK(!is_readable(lowest - 1) && !is_readable(lowest - guard));
}

static void *work(void *argument)
{
	long i;

	for (i = 0; i < 50; i++) {
		check_stack(argument);
		spin(1, 2000);
	}
	return NULL;
}

static pthread_t start_kind(const struct kind *kind)
{
	pthread_attr_t attributes;
	pthread_t thread;

	CHECK_EQUAL(pthread_attr_init(&attributes), 0);
	if (kind->size != DEFAULT)
		CHECK_EQUAL(pthread_attr_setstacksize(&attributes, kind->size), 0);
	if (kind->guard != DEFAULT)
		CHECK_EQUAL(pthread_attr_setguardsize(&attributes, kind->guard), 0);
	CHECK_EQUAL(pthread_create(&thread, &attributes, work, (void *)kind), 0);
	CHECK_EQUAL(pthread_attr_destroy(&attributes), 0);
	return thread;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 300), i, kind;
	pthread_t threads[KINDS];

	for (i = 0; i < rounds; i++) {
		for (kind = 0; kind < KINDS; kind++)
			threads[kind] = start_kind(&kinds[kind]);
		for (kind = 0; kind < KINDS; kind++)
			join_thread(threads[kind]);
	}
	printf("thread_stack: %ld\n", rounds);
	return 0;
}
