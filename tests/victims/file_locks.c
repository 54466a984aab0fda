/* Locks of all kinds are held after a restore: a child process, which has none of them, finds each file locked as
 * the program has locked it. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "victim.h"

enum { FLOCK, POSIX, OFD, LOCKF, KINDS };

static const char *const names[KINDS] = {"flock", "posix", "ofd", "lockf"};
static int descriptors[KINDS];
static off_t held_at[KINDS]; /* -1: none */

static struct flock range(off_t start, int type)
{
	struct flock lock = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = 10};

	return lock;
}

static void take(int kind, off_t at)
{
	struct flock lock = range(at, F_WRLCK);

	switch (kind) {
	case FLOCK: CHECK_EQUAL(flock(descriptors[kind], LOCK_EX), 0); break;
	case POSIX: CHECK_EQUAL(fcntl(descriptors[kind], F_SETLKW, &lock), 0); break;
	case OFD: CHECK_EQUAL(fcntl(descriptors[kind], F_OFD_SETLK, &lock), 0); break;
	case LOCKF:
		CHECK_EQUAL(lseek(descriptors[kind], at, SEEK_SET), at);
		CHECK_EQUAL(lockf(descriptors[kind], F_TLOCK, 10), 0);
		break;
	}
	held_at[kind] = at;
}

static void release(int kind)
{
	struct flock lock = range(held_at[kind], F_UNLCK);

	switch (kind) {
	case FLOCK: CHECK_EQUAL(flock(descriptors[kind], LOCK_UN), 0); break;
	case POSIX: CHECK_EQUAL(fcntl(descriptors[kind], F_SETLK, &lock), 0); break;
	case OFD: CHECK_EQUAL(fcntl(descriptors[kind], F_OFD_SETLK, &lock), 0); break;
	case LOCKF:
		CHECK_EQUAL(lseek(descriptors[kind], held_at[kind], SEEK_SET), held_at[kind]);
		CHECK_EQUAL(lockf(descriptors[kind], F_ULOCK, 10), 0);
		break;
	}
	held_at[kind] = -1;
}

/* In a child: whether each file is locked where it should be, and only there. */
static int look(void)
{
	int kind;

	for (kind = 0; kind < KINDS; kind++) {
		int fd = open(names[kind], O_RDWR);
		off_t at;

		if (kind == FLOCK) {
			if ((flock(fd, LOCK_EX | LOCK_NB) != 0) != (held_at[kind] >= 0))
				return 10 + kind;
			continue;
		}
		for (at = 0; at < 100; at += 10) {
			struct flock lock = range(at, F_WRLCK);

			if (fcntl(fd, F_GETLK, &lock) != 0 || (lock.l_type != F_UNLCK) != (at == held_at[kind]))
				return 20 + kind;
		}
	}
	return 0;
}

/* The child may be gone after a restore, then there is no answer; another one is asked. */
static void check_from_outside(void)
{
	int status = 0;

	do {
		pid_t child = fork();

		CHECK(child >= 0);
		if (child == 0)
			_exit(look());
		CHECK_EQUAL(waitpid(child, &status, 0), child);
	} while (WIFSIGNALED(status));
	CHECK_EQUAL(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 1000), i;
	uint64_t random = 1;
	int kind;

	for (kind = 0; kind < KINDS; kind++) {
		descriptors[kind] = open(names[kind], O_RDWR | O_CREAT, 0600);
		CHECK(descriptors[kind] >= 0);
		take(kind, 20);
	}
	for (i = 0; i < rounds; i++) {
		uint64_t choice = next_random(&random);

		kind = (int)(choice % KINDS);
		if (held_at[kind] >= 0)
			release(kind);
		if (choice / KINDS % 4)
			take(kind, (off_t)(choice / 16 % 10 * 10));
		check_from_outside();
		spin(0, 100000);
	}
	printf("file_locks: %016llx\n", (unsigned long long)random);
	return 0;
}
