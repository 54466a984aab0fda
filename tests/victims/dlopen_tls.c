/*
 * Thread-local storage of libraries that are loaded while threads run: allocated at a thread's first use, begun anew with
 * every load, addressed through __tls_get_addr(), in threads that existed before the load and in those made after it.
 */
#include <dlfcn.h>

#include "library.h"

#define THREADS 4

typedef uint64_t add_function(unsigned cell, uint64_t value);
typedef uint64_t *address_function(void);

static add_function *add;
static address_function *address;
static pthread_barrier_t barrier;
static uint64_t results[THREADS];
static long rounds;
static char library[PATH_MAX];

/* The same as the library does, with storage of the thread's stack. */
static uint64_t use_library(uint64_t seed, int calls)
{
	uint64_t model[3000] = {0}, sum = 4711, state = seed;
	uint64_t *first = address();
	int i;

	for (i = 0; i < calls; i++) {
		uint64_t value = next_random(&state);
		unsigned cell = (unsigned)(value % 3000);

		model[cell] += value;
		sum += model[cell];
		CHECK(add(cell, value) == sum);
		CHECK(address() == first && *first == sum);
	}
	return sum;
}

static void *use_in_new_thread(void *argument)
{
	return (void *)(uintptr_t)use_library((uint64_t)(uintptr_t)argument, 2000);
}

static void *use_in_old_thread(void *argument)
{
	intptr_t self = (intptr_t)argument;
	long round;

	for (round = 0; round < rounds; round++) {
		pthread_barrier_wait(&barrier); /* loaded */
		if ((round + self) % 3 != 0)
			results[self] = mix(results[self] + use_library((uint64_t)(round * THREADS + self), 5000));
		pthread_barrier_wait(&barrier); /* no longer used */
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	uint64_t sum = 0;
	long round;
	int i;

	rounds = victim_work(argc, argv, 2400);
	find_library("tls.so", library);
	CHECK_EQUAL(pthread_barrier_init(&barrier, NULL, THREADS + 1), 0);
	for (i = 0; i < THREADS; i++)
		threads[i] = start_thread(use_in_old_thread, (void *)(intptr_t)i);
	for (round = 0; round < rounds; round++) {
		void *handle = dlopen(library, RTLD_NOW);

		CHECK(handle);
		add = (add_function *)dlsym(handle, "tls_library_add");
		address = (address_function *)dlsym(handle, "tls_library_address");
		CHECK(add && address);
		pthread_barrier_wait(&barrier);
		sum = mix(sum + (uintptr_t)join_thread(start_thread(use_in_new_thread, (void *)round)));
		pthread_barrier_wait(&barrier);
		CHECK_EQUAL(dlclose(handle), 0);
	}
	for (i = 0; i < THREADS; i++) {
		join_thread(threads[i]);
		sum = mix(sum + results[i]);
	}
	printf("%016llx\n", (unsigned long long)sum);
	return 0;
}
