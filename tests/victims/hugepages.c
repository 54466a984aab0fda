/* Memory in huge pages keeps its contents and, where the machine has huge pages to spare (root reserves
 * some here), its page size: a private mapping and a memfd. Without any, ordinary pages do. */
#include <sys/mman.h>

#include "victim.h"

#define SIZE (4UL << 20)
#define WANTED 32 /* huge pages: for this and for others that run at the same time */

static uint64_t *private, *shared;
static uint64_t model[2][SIZE / PAGE];
static bool huge;

static void reserve_pages(void)
{
	long now = 0;
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", "r+");

	if (file == NULL)
		return;
	if (fscanf(file, "%ld", &now) == 1 && now < WANTED) {
		rewind(file);
		fprintf(file, "%d\n", WANTED);
	}
	fclose(file);
}

static void map_memory(int flags, unsigned int memfd_flags)
{
	int fd = memfd_create("huge", memfd_flags);

	private = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	shared = MAP_FAILED;
	if (fd >= 0 && ftruncate(fd, (off_t)SIZE) == 0)
		shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
}

/* In KiB, of the mapping that contains `address`. */
static long page_size_of(const void *address)
{
	char line[1024];
	unsigned long start = 0, end = 0, a, b, at = (unsigned long)address;
	long size = 0;
	FILE *smaps = fopen("/proc/self/smaps", "re");

	CHECK(smaps != NULL);
	while (size == 0 && fgets(line, sizeof(line), smaps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			start = a;
			end = b;
		} else if (at >= start && at < end) {
			sscanf(line, "KernelPageSize: %ld", &size);
		}
	}
	fclose(smaps);
	return size;
}

/* Asked again when a restore was in the midst of the text. */
static bool is_huge(const void *address)
{
	return page_size_of(address) == 2048 || page_size_of(address) == 2048;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 16000000), i;
	uint64_t random = 12, sum = 0;
	unsigned long page;

	reserve_pages();
	map_memory(MAP_HUGETLB, MFD_HUGETLB);
	huge = private != MAP_FAILED && shared != MAP_FAILED;
	if (!huge)
		map_memory(0, 0);
	CHECK(private != MAP_FAILED && shared != MAP_FAILED);
	for (i = 0; i < rounds; i++) {
		page = next_random(&random) % (SIZE / PAGE);
		CHECK_EQUAL(private[page * PAGE / 8], model[0][page]);
		CHECK_EQUAL(shared[page * PAGE / 8 + 7], model[1][page]);
		private[page * PAGE / 8] = model[0][page] = next_random(&random);
		shared[page * PAGE / 8 + 7] = model[1][page] = next_random(&random);
		if (huge && i % 65536 == 0)
			CHECK(is_huge(private) && is_huge(shared));
	}
	for (page = 0; page < SIZE / PAGE; page++)
		sum = mix(sum + model[0][page] + model[1][page]);
	printf("hugepages: %llu\n", (unsigned long long)sum);
	return 0;
}
