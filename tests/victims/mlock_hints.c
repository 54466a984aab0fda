/* Locks and advice on memory are there after a restore, as /proc/self/smaps shows them; memory
 * without any has none. */
#include <sys/mman.h>
#include <sys/wait.h>

#include "victim.h"

#define AREAS (sizeof(areas) / sizeof(areas[0]))
#define SIZE (8 * PAGE)

struct area {
	int advice;       /* of madvise(); -1: none */
	int lock;         /* flags of mlock2(); -1: not locked */
	const char *flag; /* that smaps must show */
	char *start;
};

static struct area areas[] = {
	{MADV_NORMAL, -1, NULL, NULL},     {MADV_NORMAL, 0, "lo", NULL},      {MADV_NORMAL, MLOCK_ONFAULT, "lo", NULL},
	{MADV_DONTFORK, -1, "dc", NULL},   {MADV_WIPEONFORK, -1, "wf", NULL}, {MADV_DONTDUMP, -1, "dd", NULL},
	{MADV_MERGEABLE, -1, "mg", NULL},  {MADV_HUGEPAGE, -1, "hg", NULL},   {MADV_NOHUGEPAGE, -1, "nh", NULL},
	{MADV_SEQUENTIAL, -1, "sr", NULL}, {MADV_RANDOM, -1, "rr", NULL},
};

static char *changing; /* locked, and in the end not */
static bool supported[AREAS];

/* The VmFlags of the mapping that contains `address`. */
static void read_flags(const char *address, char *flags, size_t size)
{
	char line[1024];
	unsigned long start = 0, end = 0, a, b, at = (unsigned long)address;
	FILE *smaps = fopen("/proc/self/smaps", "re");

	CHECK(smaps != NULL);
	flags[0] = '\0';
	while (fgets(line, sizeof(line), smaps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			start = a;
			end = b;
		} else if (strncmp(line, "VmFlags:", 8) == 0 && at >= start && at < end) {
			snprintf(flags, size, "%s", line + 8);
			break;
		}
	}
	fclose(smaps);
}

static bool has_flag(const char *address, const char *flag)
{
	char flags[1024], wanted[8];

	read_flags(address, flags, sizeof(flags));
	snprintf(wanted, sizeof(wanted), " %s ", flag);
	return strstr(flags, wanted) != NULL;
}

static bool is_as_asked(size_t which)
{
	size_t i;

	for (i = 0; i < AREAS; i++)
		if (areas[i].flag != NULL && strcmp(areas[i].flag, "lo") != 0 && supported[i] &&
		    has_flag(areas[which].start, areas[i].flag) != (i == which))
			return false;
	return has_flag(areas[which].start, "lo") == (areas[which].lock >= 0);
}

/* The text of smaps is another one after a restore, so that one in the midst of it gives nonsense. */
static void check_area(size_t which)
{
	CHECK(is_as_asked(which) || is_as_asked(which) || is_as_asked(which));
}

/* A page between two areas keeps them apart. */
static void make_area(size_t which)
{
	struct area *area = &areas[which];

	area->start = mmap(NULL, SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area->start != MAP_FAILED);
	CHECK_EQUAL(mprotect(area->start + SIZE, PAGE, PROT_NONE), 0);
	supported[which] = madvise(area->start, SIZE, area->advice) == 0;
	CHECK(supported[which] || errno == EINVAL); /* a kernel built without it */
	if (area->lock >= 0)
		CHECK_EQUAL(mlock2(area->start, SIZE, (unsigned)area->lock), 0);
	memset(area->start, (int)which, PAGE);
}

/* A child does not get what is not to be inherited, and finds the other zeroed. */
static void check_child(void)
{
	int status;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		unsigned char resident;

		if (mincore(areas[3].start, PAGE, &resident) == 0 || areas[4].start[0] != 0 || areas[5].start[0] != 5)
			_exit(1);
		_exit(0);
	}
	CHECK_EQUAL(waitpid(child, &status, 0), child);
	/* A restore finds the child gone. */
	CHECK(status == 0 || status == 9);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 700), i;
	size_t which;

	for (which = 0; which < AREAS; which++)
		make_area(which);
	changing = mmap(NULL, SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(changing != MAP_FAILED);
	CHECK_EQUAL(mprotect(changing + SIZE, PAGE, PROT_NONE), 0);
	CHECK_EQUAL(mlock(changing, SIZE), 0);
	/* What is asked for takes effect in the next checkpoint that begins after. */
	usleep(200000);
	for (i = 0; i < rounds; i++) {
		check_area((size_t)i % AREAS);
		CHECK_EQUAL(areas[(size_t)i % AREAS].start[PAGE - 1], (char)((size_t)i % AREAS));
		if (i % 16 == 0)
			check_child();
	}
	CHECK(has_flag(changing, "lo") || has_flag(changing, "lo"));
	CHECK_EQUAL(munlock(changing, SIZE), 0);
	CHECK(!has_flag(changing, "lo"));
	printf("mlock_hints: %ld\n", i);
	return 0;
}
