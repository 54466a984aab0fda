/* Dirty tracking under random programs, with one thread and with several; see track_model.h. */
#include "track_model.h"

TestSuite(track_random, .init = prepare, .fini = remove_files, .timeout = 300);

/* Checkpoints with and without a pre-copy, whose list of regions may be an old one. */
static void random_life(uint64_t seed, unsigned checkpoints)
{
	char when[80];
	random_state = seed;
	if (getenv("RESPCT_TEST_SHORT") != NULL) /* where machine code is emulated */
		checkpoints /= 20;
	map_some();
	walk();
	for (unsigned i = 0; i < checkpoints; i++) {
		run_program((unsigned)random_below(100));
		if (random_below(4) != 0) {
			walk();
			if (random_below(3) == 0)
				run_program((unsigned)random_below(20));
			precopy();
		}
		run_program((unsigned)random_below(20));
		capture(false);
		snprintf(when, sizeof(when), "seed %lu, checkpoint %u", seed, i);
		expect_image(when);
	}
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		read_page(i);
}

/* All the random tests: a seed each, given by RESPCT_TEST_SEED when one is to be tried again. */
#define RANDOM_LIFE(number)                                   \
	Test(track_random, random_life_##number)              \
	{                                                     \
		random_life(seed_random(1000 + number), 600); \
	}

RANDOM_LIFE(1)
RANDOM_LIFE(2)
RANDOM_LIFE(3)
RANDOM_LIFE(4)

/* ---- threads ---- */

#define WRITERS 3
#define ROUNDS 40
#define SCANS 15

static pthread_barrier_t parked, released;
static bool writing, ending;

/* Each writes to the pages of its remainder, by itself and through the kernel. */
static void *write_pages(void *argument)
{
	uint64_t state = 1 + (uint64_t)(uintptr_t)argument, number = (uint64_t)(uintptr_t)argument;
	for (;;) {
		pthread_barrier_wait(&released);
		if (ending)
			return NULL;
		while (__atomic_load_n(&writing, __ATOMIC_ACQUIRE)) {
			state = state * 6364136223846793005UL + 1442695040888963407UL;
			unsigned page = (unsigned)((state >> 33) % (ARENA_PAGES / WRITERS) * WRITERS + number);
			volatile uint64_t *words = address_of(page);
			if (state >> 60 == 0)
				(void)!pread(random_bytes, address_of(page), 100, (off_t)(state >> 50));
			else if (state >> 60 == 1)
				madvise(address_of(page), PAGE, MADV_DONTNEED);
			else
				words[(state >> 20) % 512] = state;
		}
		pthread_barrier_wait(&parked);
	}
}

/* What is in memory now is what must be in the image: nobody writes any more. */
static void take_contents(void)
{
	for (unsigned i = 0; i < ARENA_PAGES; i++)
		memcpy(contents[i], address_of(i), PAGE);
}

Test(track_random, threads)
{
	pthread_t threads[WRITERS];
	pthread_barrier_init(&parked, NULL, WRITERS + 1);
	pthread_barrier_init(&released, NULL, WRITERS + 1);
	map(0, ARENA_PAGES, PRIVATE, PROT_READ | PROT_WRITE);
	for (uintptr_t i = 0; i < WRITERS; i++)
		pthread_create(&threads[i], NULL, write_pages, (void *)i);
	for (unsigned round = 0; round < ROUNDS; round++) {
		writing = true;
		pthread_barrier_wait(&released);
		for (unsigned i = 0; i < SCANS; i++) {
			walk();
			precopy();
			usleep(random_below(500));
		}
		__atomic_store_n(&writing, false, __ATOMIC_RELEASE);
		pthread_barrier_wait(&parked);
		capture(false);
		take_contents();
		expect_image("with threads");
	}
	ending = true;
	pthread_barrier_wait(&released);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
}
