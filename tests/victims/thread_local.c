/* Thread-local variables and pthread keys: initial values, per-thread values, destructors. */
#include "victim.h"

#define THREADS 4
#define KEYS 40 /* more than fit into the thread's own first block */

static __thread uint64_t initialized = 42;
static __thread uint64_t zeroed[300];
static __thread uint64_t *pointer;
static pthread_key_t keys[KEYS];
static long destroyed; /* atomic */
static uint64_t sums[THREADS];
static long rounds;

static void destroy(void *value)
{
	CHECK(value != NULL);
	__atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
}

static void check_initial_values(void)
{
	int i;

	CHECK_EQUAL(initialized, 42);
	CHECK(pointer == NULL);
	for (i = 0; i < 300; i++)
		CHECK_EQUAL(zeroed[i], 0);
	for (i = 0; i < KEYS; i++)
		CHECK(pthread_getspecific(keys[i]) == NULL);
}

/* A thread of one round: fresh values, changed once. */
static void *short_lived(void *argument)
{
	check_initial_values();
	initialized = (uint64_t)(uintptr_t)argument;
	CHECK_EQUAL(pthread_setspecific(keys[KEYS - 1], &initialized), 0);
	return (void *)(uintptr_t)mix(initialized);
}

static void step(uint64_t r, uint64_t *model, uint64_t *key_model)
{
	size_t cell = r % 300, key = r / 512 % KEYS;

	CHECK(zeroed[cell] == model[cell]);
	zeroed[cell] = model[cell] = r;
	CHECK((uint64_t)(uintptr_t)pthread_getspecific(keys[key]) == key_model[key]);
	key_model[key] = r | 1;
	CHECK_EQUAL(pthread_setspecific(keys[key], (void *)(uintptr_t)key_model[key]), 0);
	CHECK(pointer == &initialized);
	(*pointer)++;
}

static void *worker(void *argument)
{
	int self = (int)(intptr_t)argument, i;
	uint64_t model[300] = {0}, key_model[KEYS] = {0}, state = (uint64_t)self;
	long round;

	check_initial_values();
	pointer = &initialized;
	for (round = 0; round < rounds; round++) {
		step(next_random(&state), model, key_model);
		if (round % 8192 == 0)
			sums[self] += (uintptr_t)join_thread(start_thread(short_lived, (void *)(uintptr_t)round));
	}
	CHECK_EQUAL(initialized, 42 + rounds);
	for (i = 0; i < 300; i++)
		sums[self] += mix(zeroed[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	long expected;
	int i;

	rounds = victim_work(argc, argv, 13000000);
	for (i = 0; i < KEYS; i++)
		CHECK_EQUAL(pthread_key_create(&keys[i], destroy), 0);
	run_threads(THREADS, worker);
	expected = THREADS * (KEYS + (rounds + 8191) / 8192);
	CHECK_EQUAL(destroyed, expected);
	for (i = 0; i < THREADS; i++)
		printf("thread_local %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
