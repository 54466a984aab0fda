/* Condition variables: producers and consumers with a bounded queue and timed waits; nothing is
 * lost, doubled or reordered, and no timed wait ends early. */
#include "victim.h"

#define PRODUCERS 2
#define CONSUMERS 3
#define SLOTS 16

struct item {
	int producer;
	long number;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER, not_empty; /* not_empty: CLOCK_MONOTONIC */
static struct item queue[SLOTS];
static unsigned head, tail; /* guarded by mutex, as all below */
static long taken[PRODUCERS];
static uint64_t sum;
static long rounds;
static int producers_left = PRODUCERS;

static void put(struct item item)
{
	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	while (tail - head == SLOTS)
		CHECK_EQUAL(pthread_cond_wait(&not_full, &mutex), 0);
	queue[tail++ % SLOTS] = item;
	CHECK_EQUAL(pthread_cond_signal(&not_empty), 0);
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
}

static void *producer(void *argument)
{
	int self = (int)(intptr_t)argument;
	long i;

	for (i = 0; i < rounds; i++) {
		put((struct item){self, i});
		if (i % 4096 == 0)
			usleep(3000); /* so that consumers come to wait, and to time out */
	}
	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	producers_left--;
	CHECK_EQUAL(pthread_cond_broadcast(&not_empty), 0);
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	return NULL;
}

static void wait_with_timeout(void)
{
	int64_t deadline_ns = now_ns() + MILLISECOND;
	struct timespec deadline = to_timespec(deadline_ns);
	int error = pthread_cond_timedwait(&not_empty, &mutex, &deadline);

	CHECK(error == 0 || error == ETIMEDOUT);
	if (error == ETIMEDOUT)
		CHECK(now_ns() >= deadline_ns);
}

/* Takes one item under the mutex. False at the end. */
static bool take(void)
{
	struct item item;

	while (head == tail && producers_left > 0)
		wait_with_timeout();
	if (head == tail)
		return false;
	item = queue[head++ % SLOTS];
	CHECK_EQUAL(item.number, taken[item.producer]);
	taken[item.producer]++;
	sum += mix((uint64_t)item.number * PRODUCERS + (uint64_t)item.producer);
	CHECK_EQUAL(pthread_cond_signal(&not_full), 0);
	return true;
}

static void *consumer(void *argument)
{
	bool more = true;

	(void)argument;
	while (more) {
		CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
		more = take();
		CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[PRODUCERS + CONSUMERS];
	pthread_condattr_t attributes;
	int i;

	rounds = victim_work(argc, argv, 130000);
	pthread_condattr_init(&attributes);
	CHECK_EQUAL(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC), 0);
	CHECK_EQUAL(pthread_cond_init(&not_empty, &attributes), 0);
	for (i = 0; i < PRODUCERS + CONSUMERS; i++)
		threads[i] = start_thread(i < PRODUCERS ? producer : consumer, (void *)(intptr_t)i);
	for (i = 0; i < PRODUCERS + CONSUMERS; i++)
		join_thread(threads[i]);
	for (i = 0; i < PRODUCERS; i++)
		CHECK_EQUAL(taken[i], rounds);
	printf("condition: %llu\n", (unsigned long long)sum);
	return 0;
}
