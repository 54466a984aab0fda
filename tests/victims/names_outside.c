/* Names that are files, though the calls that make and remove them do not say so: of shared memory, semaphores and unix
 * sockets. What must not exist when it is made does not exist when a restored program makes it again, and what is
 * removed can be used on. */
#include <fcntl.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "victim.h"

#define WORDS 2500
#define LARGE (3UL << 20) /* bytes */

static char name[64];

/* Of a large one only what is mapped at the checkpoint comes back, not what has been written to it before. */
static uint64_t memory_round(long round)
{
	size_t size = round % 5 ? WORDS * sizeof(uint64_t) : LARGE;
	int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	uint64_t *words, hash = 0;
	struct stat status;
	long i;

	CHECK(fd >= 0);
	if (round % 3 == 0)
		spin(0, 20000);
	CHECK_EQUAL(ftruncate(fd, (off_t)size), 0);
	CHECK_EQUAL(pwrite(fd, &round, sizeof(round), 800), sizeof(round));
	if (round % 3 == 1)
		spin(0, 20000);
	words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(words != MAP_FAILED);
	CHECK_EQUAL(close(fd), 0);
	if (size < LARGE)
		CHECK_EQUAL(words[100], round);
	for (i = 0; i < WORDS; i += 50)
		words[i] = mix((uint64_t)(round + i));
	if (round % 2)
		CHECK_EQUAL(shm_unlink(name), 0);
	spin(0, 20000);
	for (i = 0; i < WORDS; i += 50)
		CHECK(words[i] == mix((uint64_t)(round + i)));
	hash = mix(words[WORDS - 50]);
	CHECK_EQUAL(munmap(words, size), 0);
	if (round % 2 == 0) {
		fd = shm_open(name, O_RDWR, 0);
		CHECK(fd >= 0);
		CHECK_EQUAL(fstat(fd, &status), 0);
		CHECK_EQUAL(status.st_size, size);
		CHECK_EQUAL(close(fd), 0);
		CHECK_EQUAL(shm_unlink(name), 0);
	}
	CHECK_EQUAL(shm_open(name, O_RDWR, 0), -1);
	CHECK_EQUAL(errno, ENOENT);
	return hash;
}

static void semaphore_round(long round)
{
	sem_t *semaphore = sem_open(name, O_CREAT | O_EXCL, 0600, 2), *other;
	int value;

	CHECK(semaphore != SEM_FAILED);
	other = sem_open(name, O_CREAT, 0600, 7);
	CHECK(other != SEM_FAILED);
	CHECK_EQUAL(sem_wait(semaphore), 0);
	if (round % 2)
		CHECK_EQUAL(sem_unlink(name), 0);
	spin(0, 20000);
	CHECK_EQUAL(sem_getvalue(other, &value), 0);
	CHECK_EQUAL(value, 1);
	CHECK_EQUAL(sem_close(semaphore), 0);
	CHECK_EQUAL(sem_close(other), 0);
	if (round % 2 == 0)
		CHECK_EQUAL(sem_unlink(name), 0);
	CHECK(sem_open(name, 0) == SEM_FAILED);
	CHECK_EQUAL(errno, ENOENT);
}

/* A path that fills its address ends without a zero. */
static void socket_round(long round)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = sizeof(address) - (size_t)(round % 2);
	char path[sizeof(address.sun_path) + 1] = "";
	int fd = socket(AF_UNIX, round % 3 ? SOCK_STREAM : SOCK_DGRAM, 0);
	struct stat status;

	memset(path, 's', round % 4 ? 6 : length - offsetof(struct sockaddr_un, sun_path));
	memcpy(address.sun_path, path, sizeof(address.sun_path));
	CHECK(fd >= 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, (socklen_t)length), 0);
	if (round % 3)
		CHECK_EQUAL(listen(fd, 3), 0);
	if (round % 5)
		spin(0, 20000);
	CHECK_EQUAL(stat(path, &status), 0);
	CHECK(S_ISSOCK(status.st_mode));
	CHECK_EQUAL(close(fd), 0);
	CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, (socklen_t)length), -1);
	CHECK_EQUAL(errno, EBADF);
	CHECK_EQUAL(unlink(path), 0);
	spin(0, 20000);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 1600), round;
	uint64_t hash = 0;

	snprintf(name, sizeof(name), "/victim-names-%d", (int)getpid());
	for (round = 0; round < rounds; round++) {
		hash = mix(hash ^ memory_round(round));
		semaphore_round(round);
		socket_round(round);
	}
	printf("names_outside: %016llx\n", (unsigned long long)hash);
	return 0;
}
