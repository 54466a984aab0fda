/* Reservations far larger than memory, of which a few pages are touched, cost nothing: neither in
 * page tables (measured here) nor in the store (command_line/sparse_store). */
#include <sys/mman.h>

#include "victim.h"

#define GIB (1UL << 30)
#define TOUCHED 64
#define TABLES_LIMIT 4096 /* KiB of page tables: that of the touched pages and of the program itself */

struct reservation {
	char *start;
	size_t size;
	uint64_t model[TOUCHED];
};

static struct reservation reservations[] = {{.size = 16 * GIB}, {.size = 1024 * GIB}};
static char *nothing; /* 1 TiB without rights */

static uint64_t *touched(const struct reservation *reservation, int which)
{
	return (uint64_t *)(void *)(reservation->start + reservation->size / TOUCHED * (size_t)which);
}

static long page_tables(void)
{
	char line[256];
	long size = -1;
	FILE *status = fopen("/proc/self/status", "re");

	CHECK(status != NULL);
	while (size < 0 && fgets(line, sizeof(line), status) != NULL)
		sscanf(line, "VmPTE: %ld kB", &size);
	fclose(status);
	CHECK(size >= 0);
	return size;
}

static void reserve(void)
{
	size_t i;

	for (i = 0; i < 2; i++) {
		reservations[i].start = mmap(NULL, reservations[i].size, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (reservations[i].start == MAP_FAILED && errno == ENOMEM)
			exit(77); /* vm.overcommit_memory = 2, or a limit */
		CHECK(reservations[i].start != MAP_FAILED);
		madvise(reservations[i].start, reservations[i].size, MADV_NOHUGEPAGE);
	}
	nothing = mmap(NULL, 1024 * GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(nothing != MAP_FAILED);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 800), i;
	uint64_t random = 3, sum = 0;
	int which;

	reserve();
	for (i = 0; i < rounds; i++) {
		struct reservation *reservation = &reservations[i % 2];

		which = (int)(next_random(&random) % TOUCHED);
		CHECK_EQUAL(*touched(reservation, which), reservation->model[which]);
		*touched(reservation, which) = reservation->model[which] = next_random(&random);
		/* Next to a touched page there is nothing. */
		CHECK_EQUAL(touched(reservation, which)[2 * PAGE / 8], 0);
		if (i % 64 == 0) {
			CHECK(page_tables() < TABLES_LIMIT);
			CHECK_EQUAL(mprotect(nothing + (size_t)which * GIB, PAGE, PROT_READ | PROT_WRITE), 0);
			nothing[(size_t)which * GIB] = 1;
			CHECK_EQUAL(madvise(nothing + (size_t)which * GIB, PAGE, MADV_DONTNEED), 0);
			CHECK_EQUAL(mprotect(nothing + (size_t)which * GIB, PAGE, PROT_NONE), 0);
		}
		spin(1, 200000);
	}
	for (which = 0; which < TOUCHED; which++)
		sum = mix(sum + reservations[0].model[which] + reservations[1].model[which]);
	printf("sparse_huge: %llu\n", (unsigned long long)sum);
	return 0;
}
