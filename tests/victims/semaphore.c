/* Semaphores: wait, trywait and timedwait; posts are neither lost nor doubled
 * and no wait returns EINTR. */
#include <semaphore.h>

#include "victim.h"

#define PAIRS 2
#define SLOTS 8

struct channel {
	sem_t *items, *spaces;
	sem_t storage[2];
	long slots[SLOTS];
	uint64_t sum;
};

static struct channel channels[PAIRS];
static long rounds;

static void wait_on(sem_t *semaphore, long how)
{
	int64_t deadline_ns;
	struct timespec deadline;
	int result;

	do {
		deadline_ns = clock_ns(CLOCK_REALTIME) + MILLISECOND;
		deadline = to_timespec(deadline_ns);
		result = how % 3 == 0   ? sem_trywait(semaphore)
			 : how % 3 == 1 ? sem_timedwait(semaphore, &deadline)
					: sem_wait(semaphore);
		CHECK(result == 0 || (how % 3 == 0 && errno == EAGAIN) || (how % 3 == 1 && errno == ETIMEDOUT));
		if (result && errno == ETIMEDOUT)
			CHECK(clock_ns(CLOCK_REALTIME) >= deadline_ns);
		if (result && errno == EAGAIN)
			usleep(100);
	} while (result);
}

static void *sender(void *argument)
{
	struct channel *channel = &channels[(intptr_t)argument];
	long i;

	for (i = 0; i < rounds; i++) {
		wait_on(channel->spaces, i % 64 ? 2 : i / 64);
		channel->slots[i % SLOTS] = i;
		CHECK_EQUAL(sem_post(channel->items), 0);
		if (i % 4096 == 0)
			usleep(3000);
	}
	return NULL;
}

static void *receiver(void *argument)
{
	struct channel *channel = &channels[(intptr_t)argument];
	long i;

	for (i = 0; i < rounds; i++) {
		wait_on(channel->items, i % 64 ? 1 + i % 2 : i / 64);
		CHECK_EQUAL(channel->slots[i % SLOTS], i);
		channel->sum += mix((uint64_t)channel->slots[i % SLOTS]);
		CHECK_EQUAL(sem_post(channel->spaces), 0);
	}
	return NULL;
}

static void init_channel(struct channel *channel)
{
	channel->items = &channel->storage[0];
	channel->spaces = &channel->storage[1];
	CHECK_EQUAL(sem_init(channel->items, 0, 0), 0);
	CHECK_EQUAL(sem_init(channel->spaces, 0, SLOTS), 0);
}

int main(int argc, char **argv)
{
	pthread_t threads[2 * PAIRS];
	int i;

	rounds = victim_work(argc, argv, 260000);
	for (i = 0; i < PAIRS; i++) {
		init_channel(&channels[i]);
		threads[2 * i] = start_thread(sender, (void *)(intptr_t)i);
		threads[2 * i + 1] = start_thread(receiver, (void *)(intptr_t)i);
	}
	for (i = 0; i < 2 * PAIRS; i++)
		join_thread(threads[i]);
	for (i = 0; i < PAIRS; i++)
		printf("semaphore %d: %llu\n", i, (unsigned long long)channels[i].sum);
	return 0;
}
