/* Memory without access that is not a mapping of its own: guard regions (MADV_GUARD_INSTALL), and the
 * room below a mapping that grows down. Touching the one is a SIGSEGV, the other gives memory. */
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "victim.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

#define PAGES 64UL
#define STACK (4UL << 20) /* how far the growing mapping is to grow */

static sigjmp_buf fault;
static char *guarded, *top;
static bool have_guards;
static uint64_t model[PAGES];
static bool is_guard[PAGES];
static unsigned long depth = 1; /* pages of the growing mapping touched */

static void handle(int number)
{
	(void)number;
	siglongjmp(fault, 1);
}

/* Whether the page can be read. */
static bool is_readable(const char *page)
{
	if (sigsetjmp(fault, 1))
		return false;
	(void)*(const volatile char *)page;
	return true;
}

static void map_growing(void)
{
	/* Room for it to grow into, so that nothing else is placed there. */
	char *room = mmap(NULL, 2 * STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(room != MAP_FAILED);
	CHECK_EQUAL(munmap(room, 2 * STACK), 0);
	top = mmap(room + 2 * STACK - PAGE, PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	CHECK(top != MAP_FAILED);
}

/* One page further down. */
static void grow(uint64_t value)
{
	if (depth == STACK / PAGE)
		return;
	*(uint64_t *)(void *)(top - depth * PAGE) = mix(value + depth);
	depth++;
}

static void check_grown(uint64_t value)
{
	unsigned long i;

	for (i = 1; i < depth; i++)
		CHECK_EQUAL(*(uint64_t *)(void *)(top - i * PAGE), mix(value + i));
}

static void change_guard(unsigned long page)
{
	char *at = guarded + page * PAGE;

	if (!have_guards)
		return;
	if (is_guard[page]) {
		CHECK_EQUAL(madvise(at, PAGE, MADV_GUARD_REMOVE), 0);
	} else {
		CHECK_EQUAL(madvise(at, PAGE, MADV_GUARD_INSTALL), 0);
		model[page] = 0;
	}
	is_guard[page] = !is_guard[page];
}

static void use_page(unsigned long page, uint64_t value)
{
	uint64_t *word = (uint64_t *)(void *)(guarded + page * PAGE);

	CHECK_EQUAL(is_readable(guarded + page * PAGE), !is_guard[page]);
	if (is_guard[page])
		return;
	CHECK_EQUAL(*word, model[page]);
	*word = model[page] = value;
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 800000), i;
	struct sigaction action = {.sa_handler = handle};
	uint64_t random = 8;

	CHECK_EQUAL(sigaction(SIGSEGV, &action, NULL), 0);
	guarded = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(guarded != MAP_FAILED);
	have_guards = madvise(guarded, PAGE, MADV_GUARD_INSTALL) == 0; /* Linux 6.13 */
	is_guard[0] = have_guards;
	map_growing();
	for (i = 0; i < rounds; i++) {
		use_page(next_random(&random) % PAGES, random);
		if (i % 16 == 0)
			change_guard(next_random(&random) % PAGES);
		if (i % 512 == 0) {
			grow(77);
			check_grown(77);
		}
	}
	printf("growsdown: %lu %ld\n", depth, i);
	return 0;
}
