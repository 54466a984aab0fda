/* Asynchronous cancellation of threads that compute, and deferred with cancellation disabled for a while: each is
 * cancelled once, with its clean-up handlers and the destructors of its keys. */
#include "victim.h"

static long cleaned_up, destroyed, protected_work; /* atomic */
static pthread_key_t key;

static void add(long *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static void clean_up(void *argument)
{
	add(argument);
}

static void destroy(void *value)
{
	add(value);
}

static void *compute(void *argument)
{
	CHECK_EQUAL(pthread_setspecific(key, &destroyed), 0);
	pthread_cleanup_push(clean_up, &cleaned_up);
	CHECK_EQUAL(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL), 0);
	for (;;)
		spin(1, 100);
	pthread_cleanup_pop(0);
	return argument;
}

static void *work_first(void *argument)
{
	CHECK_EQUAL(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL), 0);
	CHECK_EQUAL(pthread_setspecific(key, &destroyed), 0);
	pthread_cleanup_push(clean_up, &cleaned_up);
	usleep(500);
	add(&protected_work);
	CHECK_EQUAL(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL), 0);
	for (;;)
		pthread_testcancel();
	pthread_cleanup_pop(0);
	return argument;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 300), i;
	uint64_t state = 1;

	CHECK_EQUAL(pthread_key_create(&key, destroy), 0);
	for (i = 0; i < rounds; i++) {
		pthread_t computing = start_thread(compute, (void *)i), working = start_thread(work_first, NULL);
		usleep((useconds_t)(next_random(&state) % 1500));
		CHECK_EQUAL(pthread_cancel(working), 0);
		/* Before its first instructions it has neither handler nor key. */
		while (__atomic_load_n(&protected_work, __ATOMIC_ACQUIRE) <= i)
			usleep(50);
		CHECK(join_thread(working) == PTHREAD_CANCELED);
		CHECK_EQUAL(pthread_cancel(computing), 0);
		CHECK(join_thread(computing) == PTHREAD_CANCELED);
	}
	CHECK(cleaned_up <= 2 * rounds && cleaned_up >= rounds);
	CHECK(destroyed <= 2 * rounds && destroyed >= rounds);
	printf("cancel_async: %ld\n", protected_work);
	return 0;
}
