/* POSIX shared memory: a named file in /dev/shm that outlives the process comes back to its contents
 * and length at the checkpoint, as does one that has been unlinked. A mutex, a condition variable and
 * a semaphore in it, process-shared, go on. */
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "victim.h"

#define PAGES 100UL

struct shared {
	pthread_mutex_t mutex;
	pthread_cond_t turn_changed;
	sem_t semaphore;
	uint64_t turn, count;
	uint64_t words[PAGES * 512];
};

static struct shared *shared;
static uint64_t *unlinked;
static int fd;
static long rounds;

static void make_shared(const char *name)
{
	pthread_mutexattr_t mutex;
	pthread_condattr_t condition;

	shm_unlink(name);
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	CHECK(fd >= 0);
	CHECK_EQUAL(ftruncate(fd, sizeof(*shared)), 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(shared != MAP_FAILED);
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	CHECK_EQUAL(pthread_mutex_init(&shared->mutex, &mutex), 0);
	pthread_condattr_init(&condition);
	pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
	CHECK_EQUAL(pthread_cond_init(&shared->turn_changed, &condition), 0);
	CHECK_EQUAL(sem_init(&shared->semaphore, 1, 1), 0);
}

/* Every word's value follows from how often it was written: contents of another time are found. */
static void step(uint64_t *random)
{
	uint64_t at = next_random(random) % (PAGES * 512);
	uint64_t value = shared->words[at];

	if (value != 0)
		CHECK_EQUAL(mix(at + (value >> 56)) >> 8, value & 0xffffffffffffff);
	value = (value >> 56) + 1;
	shared->words[at] = value << 56 | mix(at + value) >> 8;
	unlinked[at % 512] = shared->words[at];
	shared->count++;
}

static void *work(void *argument)
{
	uint64_t self = (uint64_t)(intptr_t)argument, random = self;
	long i;

	for (i = 0; i < rounds; i++) {
		CHECK_EQUAL(pthread_mutex_lock(&shared->mutex), 0);
		while (shared->turn != self)
			CHECK_EQUAL(pthread_cond_wait(&shared->turn_changed, &shared->mutex), 0);
		CHECK_EQUAL(sem_wait(&shared->semaphore), 0);
		CHECK_EQUAL(shared->count, (uint64_t)i * 2 + self);
		step(&random);
		CHECK_EQUAL(sem_post(&shared->semaphore), 0);
		shared->turn = !self;
		CHECK_EQUAL(pthread_cond_broadcast(&shared->turn_changed), 0);
		CHECK_EQUAL(pthread_mutex_unlock(&shared->mutex), 0);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	char name[64], other[64];
	uint64_t sum = 0, at;
	struct stat status;
	int second;

	rounds = victim_work(argc, argv, 73000);
	snprintf(name, sizeof(name), "/victim-posix-%d", getpid());
	snprintf(other, sizeof(other), "/victim-unlinked-%d", getpid());
	make_shared(name);
	second = shm_open(other, O_RDWR | O_CREAT, 0600);
	CHECK(second >= 0);
	CHECK_EQUAL(ftruncate(second, PAGE), 0);
	unlinked = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0);
	CHECK(unlinked != MAP_FAILED);
	CHECK_EQUAL(shm_unlink(other), 0);
	run_threads(2, work);
	for (at = 0; at < PAGES * 512; at++)
		sum = mix(sum + shared->words[at]);
	CHECK_EQUAL(fstat(fd, &status), 0);
	CHECK_EQUAL(status.st_size, sizeof(*shared));
	CHECK_EQUAL(shm_unlink(name), 0);
	printf("shm_posix: %llu %llu\n", (unsigned long long)sum, (unsigned long long)unlinked[7]);
	return 0;
}
