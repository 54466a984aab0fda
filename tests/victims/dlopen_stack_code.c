/* A library that needs executable stacks comes by dlopen(): those of all threads become so, and those of later ones are.
 * (A thread that runs already has to wait for the next one to be made; see README.) */
#include <dlfcn.h>

#include "library.h"
#include "stack_code.h"

static pthread_barrier_t loaded;
static long rounds;

static void *work(void *argument)
{
	return (void *)(uintptr_t)use_stack_code((uintptr_t)argument, rounds);
}

static void *work_when_loaded(void *argument)
{
	pthread_barrier_wait(&loaded);
	return work(argument);
}

static void load_library(void)
{
	char library[PATH_MAX];

	find_library("stack_code.so", library);
	if (!dlopen(library, RTLD_NOW)) {
		fprintf(stderr, "%s\n", dlerror()); /* glibc from 2.41 on */
		exit(77);
	}
}

int main(int argc, char **argv)
{
	pthread_t old_thread, new_thread;
	uint64_t sum;

	rounds = victim_work(argc, argv, 600000);
	CHECK_EQUAL(pthread_barrier_init(&loaded, NULL, 2), 0);
	old_thread = start_thread(work_when_loaded, (void *)1);
	load_library();
	sum = use_stack_code(0, rounds / 4);
	new_thread = start_thread(work, (void *)2);
	pthread_barrier_wait(&loaded);
	sum = mix(sum + use_stack_code(3, rounds / 4));
	sum = mix(sum + (uintptr_t)join_thread(old_thread));
	sum = mix(sum + (uintptr_t)join_thread(new_thread));
	printf("dlopen_stack_code: %016llx\n", (unsigned long long)sum);
	return 0;
}
