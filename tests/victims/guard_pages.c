/* Pages without access rights keep their contents and their protection, like those of a
 * collector or of guard-page allocators: opened, changed, closed; touching a closed one faults. */
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "memory_model.h"

#define PAGES 512

static unsigned char *area;
static uint32_t versions[PAGES];
static sigjmp_buf on_fault;

static void handle_fault(int number)
{
	(void)number;
	siglongjmp(on_fault, 1);
}

static void set_access(size_t page, int protection)
{
	CHECK_EQUAL(mprotect(area + page * PAGE, PAGE, protection), 0);
}

static void check_closed(size_t page)
{
	if (sigsetjmp(on_fault, 1) == 0) {
		(void)*(volatile unsigned char *)(area + page * PAGE);
		CHECK(!"a closed page could be read");
	}
}

static void check_read_only(size_t page)
{
	set_access(page, PROT_READ);
	model_check(area + page * PAGE, versions[page]);
	if (sigsetjmp(on_fault, 1) == 0) {
		*(volatile unsigned char *)(area + page * PAGE) = 1;
		CHECK(!"a read-only page could be written");
	}
	set_access(page, PROT_NONE);
}

static void change(size_t page, uint32_t version)
{
	set_access(page, PROT_READ | PROT_WRITE);
	model_check(area + page * PAGE, versions[page]);
	versions[page] = version;
	model_write(area + page * PAGE, version);
	set_access(page, PROT_NONE);
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = handle_fault};
	long rounds = victim_work(argc, argv, 210000), i;
	uint64_t state = 1, sum = 0;
	size_t page;

	CHECK_EQUAL(sigaction(SIGSEGV, &action, NULL), 0);
	area = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	for (i = 0; i < rounds; i++) {
		uint64_t r = next_random(&state);

		page = r % PAGES;
		if (r / PAGES % 4 == 0)
			check_closed(page);
		else if (r / PAGES % 4 == 1)
			check_read_only(page);
		else
			change(page, (uint32_t)(r >> 32));
	}
	for (page = 0; page < PAGES; page++) {
		set_access(page, PROT_READ);
		model_check(area + page * PAGE, versions[page]);
		sum = mix(sum + versions[page]);
	}
	printf("guard_pages: %llu\n", (unsigned long long)sum);
	return 0;
}
