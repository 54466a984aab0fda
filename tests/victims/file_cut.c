/* Private mappings of files that end inside them, are cut under them, or have no name any more: what is behind the
 * end gives SIGBUS to the program alone, and what is before it is as it was. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "victim.h"

#define PAGES 16

static sigjmp_buf environment;

static void on_bus_error(int number)
{
	(void)number;
	siglongjmp(environment, 1);
}

/* Whether the page can be read. */
static bool is_there(volatile unsigned char *page)
{
	if (sigsetjmp(environment, 1) != 0)
		return false;
	(void)*page;
	return true;
}

static void write_pages(int fd)
{
	unsigned char page[PAGE];

	for (int i = 0; i < PAGES; i++) {
		memset(page, 'a' + i, sizeof(page));
		CHECK_EQUAL(pwrite(fd, page, sizeof(page), i * (off_t)PAGE), (long)PAGE);
	}
}

static unsigned char *map(int fd)
{
	unsigned char *memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

/* Half of the pages are written, and every page is looked at; then the file is cut to a quarter. */
static void check_cut_file(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	unsigned char *memory, *empty;

	CHECK(fd >= 0);
	write_pages(fd);
	memory = map(fd);
	for (int i = 0; i < PAGES; i += 2)
		memory[(size_t)i * PAGE] = (unsigned char)i;
	usleep(30000);
	CHECK_EQUAL(ftruncate(fd, PAGES / 4 * (off_t)PAGE), 0);
	usleep(30000);
	for (int i = 0; i < PAGES; i++) {
		unsigned char *page = memory + (size_t)i * PAGE;
		CHECK_EQUAL(is_there(page), i < PAGES / 4);
		if (i < PAGES / 4)
			CHECK_EQUAL(page[0], i % 2 ? 'a' + i : i);
	}
	CHECK_EQUAL(unlink(name), 0);
	usleep(30000);
	CHECK_EQUAL(memory[PAGE], 'b');
	CHECK_EQUAL(ftruncate(fd, 0), 0);
	empty = map(fd);
	usleep(30000);
	/* Of a file without a name nothing is left but what is mapped: in a restored process these may be zeros. */
	CHECK(!is_there(empty) || *empty == 0);
	CHECK(!is_there(memory) || *memory == 0);
	CHECK_EQUAL(munmap(memory, PAGES * PAGE), 0);
	CHECK_EQUAL(munmap(empty, PAGES * PAGE), 0);
	CHECK_EQUAL(close(fd), 0);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_bus_error};
	long rounds = victim_work(argc, argv, 15);

	CHECK_EQUAL(sigaction(SIGBUS, &action, NULL), 0);
	for (long i = 0; i < rounds; i++) {
		char name[32];
		snprintf(name, sizeof(name), "cut-%ld", i);
		check_cut_file(name);
	}
	printf("file_cut: %ld\n", rounds);
	return 0;
}
