/* System V shared memory: attached segments come back at their place with their contents and their
 * identifiers, the one with a key, a private one, one that is marked to be removed, and one that is
 * attached twice. */
#include <sys/mman.h>

#include "segment.h"
#include "victim.h"

#define SEGMENTS 3
#define WORDS 4096UL
#define SIZE (WORDS * 8)

static uint64_t *memory[SEGMENTS], *again;
static int ids[SEGMENTS];
static uint64_t model[SEGMENTS][WORDS];

static void check_segments(key_t key)
{
	struct shmid_ds status;
	int i;

	CHECK_EQUAL(shmget(key, 0, 0), ids[0]);
	for (i = 0; i < SEGMENTS; i++) {
		CHECK_EQUAL(shmctl(ids[i], IPC_STAT, &status), 0);
		CHECK_EQUAL(status.shm_segsz, SIZE - 10);
		CHECK_EQUAL(status.shm_perm.mode & 0777, 0600);
		/* Two attachments, one in two pieces, one. */
		CHECK_EQUAL(status.shm_nattch, i < 2 ? 2 : 1);
		CHECK_EQUAL((status.shm_perm.mode & SHM_DEST) != 0, i == 2);
	}
}

/* Detaching and attaching work as ever. */
static void attach_again(void)
{
	CHECK_EQUAL(shmdt(again), 0);
	again = shmat(ids[0], NULL, 0);
	CHECK(again != (void *)-1);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 2000000), i;
	uint64_t random = 5, sum = 0, at;
	key_t key;
	int which;

	for (which = 0; which < SEGMENTS; which++) {
		ids[which] = which == 0 ? make_segment(SIZE - 10, &key) : shmget(IPC_PRIVATE, SIZE - 10, 0600);
		CHECK(ids[which] >= 0);
		memory[which] = shmat(ids[which], NULL, 0);
		CHECK(memory[which] != (void *)-1);
	}
	again = shmat(ids[0], NULL, 0);
	CHECK(again != (void *)-1);
	CHECK_EQUAL(shmctl(ids[2], IPC_RMID, NULL), 0);
	CHECK_EQUAL(mprotect(memory[1], PAGE, PROT_READ), 0);
	for (i = 0; i < rounds; i++) {
		for (which = 0; which < SEGMENTS; which++) {
			at = next_random(&random) % WORDS;
			if (which == 1 && at < PAGE / 8)
				continue;
			CHECK_EQUAL(memory[which][at], model[which][at]);
			memory[which][at] = model[which][at] = next_random(&random);
			if (which == 0)
				CHECK_EQUAL(again[at], model[0][at]);
		}
		if (i % 32 == 0)
			attach_again();
		if (i % 16 == 0)
			check_segments(key);
	}
	for (at = 0; at < WORDS; at++)
		sum = mix(sum + model[0][at] + model[1][at] + model[2][at]);
	for (which = 0; which < SEGMENTS; which++)
		CHECK_EQUAL(shmdt(memory[which]), 0);
	CHECK_EQUAL(shmctl(ids[0], IPC_RMID, NULL), 0);
	CHECK_EQUAL(shmctl(ids[1], IPC_RMID, NULL), 0);
	CHECK_EQUAL(shmctl(ids[2], IPC_STAT, &(struct shmid_ds){0}), -1);
	printf("shm_sysv: %llu\n", (unsigned long long)sum);
	return 0;
}
