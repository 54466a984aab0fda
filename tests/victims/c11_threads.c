/*
 * C11 threads: their functions call each other inside libc, where nobody can interpose. Mutexes, recursive and timed,
 * condition variables, call_once, thread-specific storage with destructors, sleeps, joins with results, detach.
 */
#include "victim.h"

#include <stdatomic.h>
#include <threads.h>

#define THREADS 4
#define SLOTS 8

static mtx_t lock, recursive, timed;
static cnd_t filled, emptied;
static once_flag once = ONCE_FLAG_INIT;
static tss_t storage;
static int slots[SLOTS], used, once_called;
static long left_to_make, consumed;
static uint64_t sum;
static atomic_int destroyed, detached;
static _Thread_local uint64_t own;

static void destroy(void *value)
{
	free(value);
	destroyed++;
}

static void begin(void)
{
	once_called++;
	CHECK_EQUAL(mtx_init(&lock, mtx_plain), thrd_success);
	CHECK_EQUAL(mtx_init(&recursive, mtx_plain | mtx_recursive), thrd_success);
	CHECK_EQUAL(mtx_init(&timed, mtx_timed), thrd_success);
	CHECK_EQUAL(cnd_init(&filled), thrd_success);
	CHECK_EQUAL(cnd_init(&emptied), thrd_success);
	CHECK_EQUAL(tss_create(&storage, destroy), thrd_success);
}

static int produce(void *unused)
{
	(void)unused;
	call_once(&once, begin);
	mtx_lock(&lock);
	while (left_to_make > 0) {
		if (used == SLOTS) {
			cnd_wait(&emptied, &lock);
			continue;
		}
		slots[used++] = (int)left_to_make--;
		cnd_signal(&filled);
	}
	cnd_broadcast(&filled);
	mtx_unlock(&lock);
	return 1;
}

static void count_recursively(int depth, uint64_t value)
{
	CHECK_EQUAL(mtx_lock(&recursive), thrd_success);
	if (depth > 0)
		count_recursively(depth - 1, value);
	else
		sum += value;
	CHECK_EQUAL(mtx_unlock(&recursive), thrd_success);
}

static void use_timed_lock(bool yielding)
{
	struct timespec until;

	timespec_get(&until, TIME_UTC);
	until.tv_sec += 3600;
	CHECK_EQUAL(mtx_timedlock(&timed, &until), thrd_success);
	if (yielding)
		thrd_yield();
	CHECK_EQUAL(mtx_unlock(&timed), thrd_success);
}

/* The next item; 0 when there will be none. */
static int take(void)
{
	struct timespec until;
	int item = 0;

	mtx_lock(&lock);
	while (used == 0 && left_to_make > 0) {
		timespec_get(&until, TIME_UTC);
		until.tv_sec += 3600;
		CHECK_EQUAL(cnd_timedwait(&filled, &lock, &until), thrd_success);
	}
	if (used > 0) {
		item = slots[--used];
		consumed++;
		cnd_signal(&emptied);
	}
	mtx_unlock(&lock);
	return item;
}

static int consume(void *unused)
{
	uint64_t *stored = malloc(sizeof(*stored));
	int item, items = 0;

	(void)unused;
	call_once(&once, begin);
	*stored = 0;
	CHECK_EQUAL(tss_set(storage, stored), thrd_success);
	while ((item = take()) != 0) {
		uint64_t value = spin((uint64_t)item, 200);

		count_recursively(3, value);
		use_timed_lock(item % 500 == 0);
		own += value;
		*(uint64_t *)tss_get(storage) += value;
		items++;
		if (items % 500 == 0)
			thrd_sleep(&(struct timespec){0, MILLISECOND}, NULL);
	}
	CHECK(own == *stored);
	return items;
}

static int run_detached(void *unused)
{
	(void)unused;
	CHECK_EQUAL(thrd_detach(thrd_current()), thrd_success);
	detached++;
	return 0;
}

static void run_round(int expected_destroyed)
{
	thrd_t threads[THREADS], producer, third;
	int i, result, items = 0;

	CHECK_EQUAL(thrd_create(&producer, produce, NULL), thrd_success);
	for (i = 0; i < THREADS; i++)
		CHECK_EQUAL(thrd_create(&threads[i], consume, NULL), thrd_success);
	CHECK_EQUAL(thrd_create(&third, run_detached, NULL), thrd_success);
	for (i = 0; i < THREADS; i++) {
		CHECK_EQUAL(thrd_join(threads[i], &result), thrd_success);
		items += result;
	}
	CHECK_EQUAL(thrd_join(producer, &result), thrd_success);
	CHECK_EQUAL(result, 1);
	CHECK_EQUAL(items, consumed);
	CHECK_EQUAL(destroyed, expected_destroyed);
}

int main(int argc, char **argv)
{
	long items = victim_work(argc, argv, 110000);
	int round;

	call_once(&once, begin);
	for (round = 1; round <= 8; round++) {
		left_to_make = items / 8;
		consumed = 0;
		run_round(round * THREADS);
		CHECK_EQUAL(consumed, items / 8);
		printf("%d %ld %016llx\n", round, consumed, (unsigned long long)sum);
	}
	while (detached < 8)
		thrd_yield();
	CHECK_EQUAL(once_called, 1);
	return 0;
}
