/*
 * Random memory operations against a model: property STORE CHECKER SEED STEPS, under respct with
 * RESPCT_VERIFY=1.
 *
 * Maps, unmaps, moves, resizes, protects, discards, reads into, writes, changes the break and forks, in
 * a sequence that follows from SEED. After random steps it takes a checkpoint and lets CHECKER
 * (property_check) compare what is in the store with the model. Without respct (no
 * respct_checkpoint to be found) it checks the model against memory only.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "property.h"

#define PAGE PROPERTY_PAGE
#define AREAS 24
#define LARGEST 48 /* pages of an area */
#define BREAK_PAGES 64
#define FILE_PAGES 64
#define ARENA_BASE 0x150000000000UL /* fixed places: nobody else maps there */
#define ARENA_SLOT (1UL << 24)

#define CHECK(condition)                              \
	do {                                          \
		if (!(condition))                     \
			failed(__LINE__, #condition); \
	} while (0)

struct area {
	unsigned char *start; /* NULL: none */
	size_t pages;
	bool file;   /* a private mapping of the file, page i shows its page i */
	bool pieces; /* maybe several mappings for the kernel: mremap() does not take it */
	uint32_t versions[LARGEST];
	int protection[LARGEST];
};

static struct area areas[AREAS];
static unsigned char *break_base;
static size_t break_pages;
static uint32_t break_versions[BREAK_PAGES];
static uint32_t file_versions[FILE_PAGES];
static int file, data_pipe[2];
static uint32_t next_version = 1;
static uint64_t random_state;
static long step, checkpoints;
static const char *store, *checker;
static int (*take_checkpoint)(void);

/* Evidence: the mappings with their flags, among them `uw`, tracked by write protection. */
static void copy_mappings(void)
{
	int in = open("/proc/self/smaps", O_RDONLY), out = open("smaps", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	static char text[65536];
	ssize_t got;

	while ((got = read(in, text, sizeof(text))) > 0)
		if (write(out, text, (size_t)got) != got)
			return;
}

static void __attribute__((noreturn)) failed(int line, const char *what)
{
	fprintf(stderr, "property.c:%d: step %ld: %s, %s\n", line, step, what, strerror(errno));
	copy_mappings();
	_exit(1);
}

static uint64_t random_number(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static size_t below(size_t limit)
{
	return random_number() % limit;
}

/* ---- areas ---- */

static bool writable(const struct area *area, size_t page)
{
	return area->protection[page] & PROT_WRITE;
}

static unsigned char *address_of(const struct area *area, size_t page)
{
	return area->start + page * PAGE;
}

/* What the page is without any write. */
static uint32_t clean_version(const struct area *area, size_t page)
{
	return area->file ? file_versions[page] : 0;
}

static void reset_pages(struct area *area, size_t from, size_t count, int protection)
{
	size_t i;

	for (i = from; i < from + count; i++) {
		area->versions[i] = clean_version(area, i);
		area->protection[i] = protection;
	}
}

/* Half of the areas have a place of their own, half are where the kernel or the runtime puts them. */
static void *place_of(const struct area *area)
{
	size_t number = (size_t)(area - areas);

	return number % 2 ? (void *)(ARENA_BASE + number * ARENA_SLOT) : NULL;
}

static void map(struct area *area)
{
	void *place = place_of(area);
	int flags = MAP_PRIVATE | (place ? MAP_FIXED_NOREPLACE : 0);

	area->file = below(4) == 0;
	area->pieces = false;
	area->pages = 1 + below(LARGEST);
	if (!area->file)
		flags |= MAP_ANONYMOUS;
	if (below(8) == 0)
		flags |= MAP_POPULATE;
	area->start = mmap(place, area->pages * PAGE, PROT_READ | PROT_WRITE, flags, area->file ? file : -1, 0);
	CHECK(area->start != MAP_FAILED);
	reset_pages(area, 0, area->pages, PROT_READ | PROT_WRITE);
}

static void unmap(struct area *area)
{
	CHECK(munmap(area->start, area->pages * PAGE) == 0);
	area->start = NULL;
}

static void cut_end(struct area *area)
{
	size_t kept = 1 + below(area->pages);

	if (kept == area->pages)
		return;
	CHECK(munmap(address_of(area, kept), (area->pages - kept) * PAGE) == 0);
	area->pages = kept;
}

/* New pages over the middle of an area, in one call. */
static void map_over(struct area *area)
{
	size_t from = below(area->pages), count = 1 + below(area->pages - from);
	int flags = MAP_PRIVATE | MAP_FIXED | (area->file ? 0 : MAP_ANONYMOUS);

	CHECK(mmap(address_of(area, from), count * PAGE, PROT_READ | PROT_WRITE, flags, area->file ? file : -1,
		   (off_t)(area->file ? from * PAGE : 0)) == address_of(area, from));
	area->pieces = true;
	reset_pages(area, from, count, PROT_READ | PROT_WRITE);
}

static void protect(struct area *area, size_t from, size_t count, int protection)
{
	size_t i;

	CHECK(mprotect(address_of(area, from), count * PAGE, protection) == 0);
	for (i = from; i < from + count; i++)
		area->protection[i] = protection;
}

static void change_protection(struct area *area)
{
	static const int protections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE};
	size_t from = below(area->pages), count = 1 + below(area->pages - from);

	area->pieces = true;
	protect(area, from, count, protections[below(4)]);
}

static void discard(struct area *area)
{
	size_t from = below(area->pages), count = 1 + below(area->pages - from), i;

	CHECK(madvise(address_of(area, from), count * PAGE, MADV_DONTNEED) == 0);
	for (i = from; i < from + count; i++)
		area->versions[i] = clean_version(area, i);
}

/* Grows or shrinks in place or by moving; those with a place of their own only shrink. */
static void resize(struct area *area)
{
	size_t pages = 1 + below(place_of(area) ? area->pages : LARGEST), old = area->pages;

	if (area->pieces)
		return;
	protect(area, 0, area->pages, PROT_READ | PROT_WRITE);
	area->start = mremap(area->start, old * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	CHECK(area->start != MAP_FAILED);
	area->pages = pages;
	if (pages > old)
		reset_pages(area, old, pages - old, PROT_READ | PROT_WRITE);
}

/* Moves away and, for those with a place, back: everything stays, the addresses change in between. */
static void move(struct area *area)
{
	size_t bytes = area->pages * PAGE;
	void *elsewhere;

	if (area->pieces)
		return;
	protect(area, 0, area->pages, PROT_READ | PROT_WRITE);
	elsewhere = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(elsewhere != MAP_FAILED);
	area->start = mremap(area->start, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere);
	CHECK(area->start == elsewhere);
	if (!place_of(area))
		return;
	area->start = mremap(area->start, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, place_of(area));
	CHECK(area->start == place_of(area));
}

/* ---- contents ---- */

static void write_page(struct area *area, size_t page)
{
	area->versions[page] = next_version++;
	property_fill(address_of(area, page), area->versions[page]);
}

static void write_some(struct area *area)
{
	size_t page = below(area->pages), count = 1 + below(6);

	for (; count > 0 && page < area->pages; count--, page++)
		if (writable(area, page))
			write_page(area, page);
}

/* The kernel writes into the page on our behalf: by read, readv or pread. */
static void read_into(struct area *area)
{
	unsigned char contents[PAGE];
	size_t page = below(area->pages);
	unsigned char *address = address_of(area, page);
	struct iovec halves[2] = {{address, PAGE / 2}, {address + PAGE / 2, PAGE / 2}};

	if (!writable(area, page))
		return;
	area->versions[page] = next_version++;
	property_fill(contents, area->versions[page]);
	CHECK(write(data_pipe[1], contents, PAGE) == (ssize_t)PAGE);
	if (below(2))
		CHECK(read(data_pipe[0], address, PAGE) == (ssize_t)PAGE);
	else
		CHECK(readv(data_pipe[0], halves, 2) == (ssize_t)PAGE);
}

static void read_file_into(struct area *area)
{
	size_t page = below(area->pages), from = below(FILE_PAGES);

	if (!writable(area, page))
		return;
	CHECK(pread(file, address_of(area, page), PAGE, (off_t)(from * PAGE)) == (ssize_t)PAGE);
	area->versions[page] = file_versions[from];
}

/* Reading maps pages that were never written. */
static void look(struct area *area)
{
	size_t page;

	for (page = 0; page < area->pages; page++)
		if (area->protection[page] & PROT_READ)
			CHECK(property_matches(address_of(area, page), area->versions[page]));
}

/* ---- break and fork ---- */

static void change_break(void)
{
	size_t pages = below(BREAK_PAGES + 1), i;

	CHECK(brk(break_base + pages * PAGE) == 0);
	for (i = break_pages; i < pages; i++)
		break_versions[i] = 0;
	break_pages = pages;
}

static void write_break(void)
{
	size_t page;

	if (break_pages == 0)
		return;
	page = below(break_pages);
	break_versions[page] = next_version++;
	property_fill(break_base + page * PAGE, break_versions[page]);
}

/* The child has a copy of everything and changes it; the parent writes while they share pages. */
static void fork_and_write(struct area *area)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		size_t page;

		for (page = 0; page < area->pages; page++)
			if (writable(area, page))
				memset(address_of(area, page), 0xcc, PAGE);
		_exit(0);
	}
	write_some(area);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	write_some(area);
}

/* ---- checkpoints ---- */

static void put_page(FILE *out, void *address, uint32_t kind, uint32_t version, uint32_t file_version)
{
	struct property_page page = {(uint64_t)(uintptr_t)address, kind, version, file_version, 0};

	CHECK(fwrite(&page, sizeof(page), 1, out) == 1);
}

static void put_area(FILE *out, const struct area *area)
{
	unsigned char *place = place_of(area);
	size_t mapped = area->start ? area->pages : 0, i;

	for (i = 0; i < mapped; i++)
		put_page(out, address_of(area, i), area->file ? PROPERTY_FILE : PROPERTY_ANONYMOUS, area->versions[i],
			 clean_version(area, i));
	for (i = mapped; place && i < LARGEST; i++)
		put_page(out, place + i * PAGE, PROPERTY_UNMAPPED, 0, 0);
}

static void write_model(void)
{
	FILE *out = fopen("model", "we");
	size_t i;

	CHECK(out);
	for (i = 0; i < AREAS; i++)
		put_area(out, &areas[i]);
	for (i = 0; i < break_pages; i++)
		put_page(out, break_base + i * PAGE, PROPERTY_ANONYMOUS, break_versions[i], 0);
	CHECK(fclose(out) == 0);
}

static void run_checker(void)
{
	pid_t child = fork();
	int status;

	CHECK(child >= 0);
	if (child == 0) {
		execl(checker, checker, store, "model", (char *)NULL);
		_exit(127);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(status == 0 && "the store is not the model");
}

static void check_all(void)
{
	size_t i;

	for (i = 0; i < AREAS; i++)
		if (areas[i].start)
			look(&areas[i]);
	for (i = 0; i < break_pages; i++)
		CHECK(property_matches(break_base + i * PAGE, break_versions[i]));
}

static void checkpoint(void)
{
	if (take_checkpoint) {
		/* On a machine that is very busy a thread may not come to a stop in time; nothing has happened then. */
		int result;
		do
			result = take_checkpoint();
		while (result == -ETIMEDOUT);
		errno = -result;
		CHECK(result == 0);
		write_model();
		run_checker();
	}
	if (below(2))
		check_all();
	checkpoints++;
}

/* ---- the sequence ---- */

static void one_step(void)
{
	static void (*const operations[])(struct area *) = {
		unmap,      cut_end,    map_over,   change_protection, discard,        discard,
		resize,     move,       read_into,  read_into,         read_file_into, look,
		write_some, write_some, write_some, write_some,        write_some,
	};
	struct area *area = &areas[below(AREAS)];
	size_t action = below(64);

	if (action == 0)
		change_break();
	else if (action < 4)
		write_break();
	else if (!area->start)
		map(area);
	else if (action == 4)
		fork_and_write(area);
	else
		operations[below(sizeof(operations) / sizeof(operations[0]))](area);
}

static void make_file(void)
{
	unsigned char contents[PAGE];
	size_t i;

	file = open("file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	CHECK(file >= 0);
	for (i = 0; i < FILE_PAGES; i++) {
		file_versions[i] = next_version++;
		property_fill(contents, file_versions[i]);
		CHECK(write(file, contents, PAGE) == (ssize_t)PAGE);
	}
}

/* stdio and its buffers are allocated before the break is ours. */
static void init_break(void)
{
	break_base = sbrk(0);
	break_base += -(uintptr_t)break_base % PAGE;
	CHECK(brk(break_base) == 0);
}

int main(int count, char **arguments)
{
	static char buffer[BUFSIZ];
	long steps;

	if (count != 5) {
		fprintf(stderr, "usage: property STORE CHECKER SEED STEPS\n");
		return 2;
	}
	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	store = arguments[1];
	checker = arguments[2];
	random_state = strtoull(arguments[3], NULL, 0);
	steps = atol(arguments[4]);
	*(void **)&take_checkpoint = dlsym(RTLD_DEFAULT, "respct_checkpoint");
	CHECK(pipe2(data_pipe, O_CLOEXEC) == 0);
	make_file();
	init_break();
	for (step = 0; step < steps; step++) {
		one_step();
		if (below(24) == 0)
			checkpoint();
	}
	checkpoint();
	check_all();
	printf("%ld checkpoints compared\n", checkpoints);
	return take_checkpoint ? 0 : 3;
}
