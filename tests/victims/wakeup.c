/* Threads that are nearly always in, or just back from, a short blocking call, and write to memory at
 * once: a checkpoint must not take a thread for stopped that has just woken. Each thread writes every
 * number to two places far apart; a capture in between shows as a difference after the restore. */
#include <poll.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "victim.h"

#define KINDS 8
#define PAGES 64
#define WORDS (PAGES * PAGE / 8)

struct mirror {
	uint64_t first[WORDS], second[WORDS];
};

static struct mirror *mirrors[KINDS];
static uint64_t sums[KINDS];
static int event, epoll, pair[2], ends[2];
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static long rounds;

static void wait_condition(void)
{
	struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + 50000);

	CHECK_EQUAL(pthread_mutex_lock(&mutex), 0);
	pthread_cond_timedwait(&condition, &mutex, &deadline);
	CHECK_EQUAL(pthread_mutex_unlock(&mutex), 0);
}

static void wait_epoll(void)
{
	struct epoll_event ready;
	uint64_t one = 1;

	CHECK_EQUAL(write(event, &one, 8), 8);
	CHECK_EQUAL(epoll_wait(epoll, &ready, 1, -1), 1);
	CHECK_EQUAL(read(event, &one, 8), 8);
}

static void wait_semaphore(void)
{
	struct timespec deadline = to_timespec(clock_ns(CLOCK_REALTIME) + 50000);

	CHECK(sem_timedwait(&semaphore, &deadline) == -1 && errno == ETIMEDOUT);
}

static void wait_briefly(int kind)
{
	struct timespec moment = {0, 20000};
	struct pollfd nothing = {ends[0], POLLIN, 0};
	char byte = 1;

	switch (kind) {
	case 0: CHECK_EQUAL(nanosleep(&moment, NULL), 0); break;
	case 1: CHECK_EQUAL(usleep(1), 0); break;
	case 2: wait_condition(); break;
	case 3: wait_epoll(); break;
	case 4: wait_semaphore(); break;
	case 5: CHECK_EQUAL(ppoll(&nothing, 1, &moment, NULL), 0); break;
	case 6: /* a call that could block but has something there */
		CHECK_EQUAL(send(pair[0], &byte, 1, 0), 1);
		CHECK_EQUAL(recv(pair[1], &byte, 1, 0), 1);
		break;
	default: CHECK_EQUAL(poll(NULL, 0, 0), 0);
	}
}

/* A burst of writes over many pages, so that it lasts. */
static void write_both(struct mirror *mirror, uint64_t *state)
{
	int i;

	for (i = 0; i < 200; i++) {
		uint64_t r = next_random(state), cell = r % WORDS;

		CHECK(mirror->first[cell] == mirror->second[cell]);
		mirror->first[cell] = r;
		mirror->second[cell] = r;
	}
}

static void *worker(void *argument)
{
	int kind = (int)(intptr_t)argument;
	uint64_t state = (uint64_t)kind;
	size_t i;
	long round;

	for (round = 0; round < rounds; round++) {
		wait_briefly(kind);
		write_both(mirrors[kind], &state);
	}
	for (i = 0; i < WORDS; i++) {
		CHECK(mirrors[kind]->first[i] == mirrors[kind]->second[i]);
		sums[kind] = mix(sums[kind] + mirrors[kind]->first[i]);
	}
	return NULL;
}

static void init(void)
{
	struct epoll_event interest = {.events = EPOLLIN};
	int i;

	for (i = 0; i < KINDS; i++)
		mirrors[i] = calloc(1, sizeof(*mirrors[i]));
	CHECK_EQUAL(pipe(ends), 0);
	CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_EQUAL(sem_init(&semaphore, 0, 0), 0);
	event = eventfd(0, 0);
	epoll = epoll_create1(0);
	CHECK_EQUAL(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &interest), 0);
}

int main(int argc, char **argv)
{
	int i;

	rounds = victim_work(argc, argv, 7800);
	init();
	run_threads(KINDS, worker);
	for (i = 0; i < KINDS; i++)
		printf("wakeup %d: %llu\n", i, (unsigned long long)sums[i]);
	return 0;
}
