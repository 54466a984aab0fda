/*
 * The walk over the mappings, by PROCMAP_QUERY and by text, against what /proc/self/maps says.
 *
 * The walk falls back to reading text when the kernel does not know PROCMAP_QUERY; it is made to
 * here by a regular file with a copy of /proc/self/maps in it. Between a walk and the text it is
 * compared with nothing may map memory: no malloc, no stdio.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "random.h"
#include "runtime/base/memory.h"
#include "runtime/base/sys.h"
#include "runtime/base/uapi.h"
#include "runtime/layout.h"
#include "runtime/memory/region.h"

#define ARENA 0x150000000000UL /* where the tests map; nothing else is there */
#define ARENA_PAGES 256
#define TEXT_SIZE (4 << 20)
#define EXPECTED_MAX 8192
#define STEPS 400
#define STACK_ROOM (256 * 1024)

struct expected {
	uint64_t start, end, offset, inode;
	unsigned major, minor;
	char prot[5];
	const char *name;
};

static char maps_text[TEXT_SIZE];
static size_t maps_length;
static struct expected expected[EXPECTED_MAX];
static size_t expected_count;
static int maps_fd, text_fd;
static struct region_table by_query, by_text, no_previous;

/* ---- an independent reading of /proc/self/maps ---- */

static void read_maps(void)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	ssize_t got;
	maps_length = 0;
	while ((got = read(fd, maps_text + maps_length, TEXT_SIZE - 1 - maps_length)) > 0)
		maps_length += (size_t)got;
	close(fd);
	maps_text[maps_length] = '\0';
}

/* Terminates the lines of maps_text. */
static void parse_maps(void)
{
	expected_count = 0;
	for (char *line = strtok(maps_text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		struct expected *entry = &expected[expected_count];
		int name_at = 0;
		int fields = sscanf(line, "%lx-%lx %4s %lx %x:%x %lu%n", &entry->start, &entry->end, entry->prot,
				    &entry->offset, &entry->major, &entry->minor, &entry->inode, &name_at);
		cr_assert_eq(fields, 7, "%s", line);
		entry->name = line + name_at + strspn(line + name_at, " ");
		bool outside = entry->start >= RT_AREA_BASE && entry->start < RT_RESTORER_END;
		if (!outside && strcmp(entry->name, "[vsyscall]") != 0)
			expected_count++;
		cr_assert(expected_count < EXPECTED_MAX);
	}
}

static void expect_entry(const struct region_table *table, size_t i)
{
	const struct region *found = &table->entries[i];
	const struct expected *entry = &expected[i];
	cr_assert(found->start == entry->start && found->end == entry->end, "%lx-%lx, not %lx-%lx", found->start,
		  found->end, entry->start, entry->end);
	cr_assert_eq(found->offset, entry->offset, "%lx: offset", found->start);
	cr_assert_eq(found->inode, entry->inode, "%lx: inode", found->start);
	cr_assert(found->device_major == entry->major && found->device_minor == entry->minor, "%lx: device",
		  found->start);
	cr_assert_eq(found->shared, entry->prot[3] == 's', "%lx: shared", found->start);
	cr_assert_eq(found->prot,
		     (entry->prot[0] == 'r' ? PROT_READ : 0u) | (entry->prot[1] == 'w' ? PROT_WRITE : 0u) |
			     (entry->prot[2] == 'x' ? PROT_EXEC : 0u),
		     "%lx: protection", found->start);
	cr_assert_str_eq(rt_region_name(table, found), entry->name, "%lx: name", found->start);
}

/* Both walks give what the kernel's text says. */
static void expect_walks(const struct region_table *previous)
{
	cr_assert_eq(ftruncate(text_fd, 0), 0);
	int query_result = rt_regions_walk(maps_fd, previous, &by_query);
	read_maps();
	cr_assert_eq(pwrite(text_fd, maps_text, maps_length, 0), (ssize_t)maps_length);
	int text_result = rt_regions_walk(text_fd, previous, &by_text);
	cr_assert_eq(query_result, 0, "%d", query_result);
	cr_assert_eq(text_result, 0, "%d", text_result);
	parse_maps();
	cr_assert_eq(by_query.count, expected_count, "%zu mappings, not %zu", by_query.count, expected_count);
	cr_assert_eq(by_text.count, expected_count, "%zu mappings, not %zu", by_text.count, expected_count);
	for (size_t i = 0; i < expected_count; i++) {
		expect_entry(&by_query, i);
		expect_entry(&by_text, i);
		cr_assert_eq(by_query.entries[i].kind, by_text.entries[i].kind);
		cr_assert_eq(by_query.entries[i].flags, by_text.entries[i].flags);
		cr_assert_eq(by_query.entries[i].tracked, by_text.entries[i].tracked);
		cr_assert_eq(by_query.entries[i].capture_all, by_text.entries[i].capture_all);
		/* The text has none: read in the mapping, when that is of the file's beginning. */
		if (by_query.entries[i].offset == 0)
			cr_assert_eq(memcmp(by_query.entries[i].build_id, by_text.entries[i].build_id,
					    sizeof(by_text.entries[i].build_id)),
				     0, "%lx: build-id", expected[i].start);
	}
	cr_assert(rt_regions_equal(&by_query, &by_text));
}

/* The stack does not grow later, and the tables have their memory. */
static void prepare(void)
{
	volatile char room[STACK_ROOM];
	for (size_t i = 0; i < sizeof(room); i += 4096)
		room[i] = 1;
	memset(maps_text, 0, sizeof(maps_text));
	maps_fd = open("/proc/self/maps", O_RDONLY);
	text_fd = memfd_create("maps", 0);
	cr_assert(maps_fd >= 0 && text_fd >= 0);
	cr_assert_eq(rt_regions_walk(maps_fd, &no_previous, &by_query), 0);
	read_maps();
	cr_assert_eq(pwrite(text_fd, maps_text, maps_length, 0), (ssize_t)maps_length);
	cr_assert_eq(rt_regions_walk(text_fd, &no_previous, &by_text), 0);
}

TestSuite(region, .init = prepare);

Test(region, walk)
{
	expect_walks(&no_previous);
	expect_walks(&by_query);
}

/* On a kernel that knows PROCMAP_QUERY, that is what is tested above; else only the text is. */
Test(region, has_query)
{
	struct procmap_query query = {.size = sizeof(query), .query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA};
	if (rt_sys_ioctl(maps_fd, PROCMAP_QUERY, &query) == -ENOTTY)
		cr_skip_test("this kernel has no PROCMAP_QUERY");
	cr_assert_eq(rt_sys_ioctl(text_fd, PROCMAP_QUERY, &query), -ENOTTY, "the fallback is not what is tested");
}

Test(region, sorted_and_apart)
{
	expect_walks(&no_previous);
	for (size_t i = 0; i < by_query.count; i++) {
		cr_assert(by_query.entries[i].start < by_query.entries[i].end);
		cr_assert(i == 0 || by_query.entries[i - 1].end <= by_query.entries[i].start);
	}
}

/* ---- kinds ---- */

static char file_path[64];

static int new_file(void)
{
	strcpy(file_path, "/tmp/test_region.XXXXXX");
	int fd = mkstemp(file_path);
	cr_assert(fd >= 0);
	cr_assert_eq(ftruncate(fd, ARENA_PAGES * 4096), 0);
	return fd;
}

static void map_at(unsigned page, unsigned pages, int prot, int flags, int fd, off_t offset)
{
	void *wanted = (void *)(ARENA + page * 4096UL);
	cr_assert_eq(mmap(wanted, pages * 4096UL, prot, flags | MAP_FIXED, fd, offset), wanted, "%d", errno);
}

struct properties {
	enum region_kind kind;
	bool tracked, capture_all;
};

static void expect_properties(const struct region_table *table, unsigned page, struct properties properties)
{
	const struct region *region = rt_region_find(table, ARENA + page * 4096UL);
	cr_assert_not_null(region, "page %u is not found", page);
	cr_assert_eq(region->kind, properties.kind, "page %u: kind %d", page, region->kind);
	cr_assert_eq(region->tracked, properties.tracked, "page %u: tracked", page);
	cr_assert_eq(region->capture_all, properties.capture_all, "page %u: capture_all", page);
}

static void expect_both(unsigned page, struct properties properties)
{
	expect_properties(&by_query, page, properties);
	expect_properties(&by_text, page, properties);
}

#define PRIVATE ((struct properties){REGION_ANONYMOUS, true, false})
#define SHARED ((struct properties){REGION_ANONYMOUS_SHARED, true, false})
#define PRIVATE_FILE ((struct properties){REGION_FILE_PRIVATE, true, false})
#define SHARED_FILE ((struct properties){REGION_FILE_SHARED, false, false})
#define PRIVATE_FILE_GONE ((struct properties){REGION_ANONYMOUS, true, true})

Test(region, anonymous)
{
	map_at(0, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	map_at(4, 2, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	map_at(8, 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	expect_walks(&no_previous);
	expect_both(0, PRIVATE);
	expect_both(4, SHARED);
	expect_both(8, PRIVATE);
	cr_assert_null(rt_region_find(&by_query, ARENA + 2 * 4096));
}

Test(region, files)
{
	int fd = new_file();
	map_at(0, 3, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 4096);
	map_at(4, 2, PROT_READ, MAP_SHARED, fd, 0);
	map_at(8, 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 8192);
	expect_walks(&no_previous);
	expect_both(0, PRIVATE_FILE);
	expect_both(4, SHARED_FILE);
	expect_both(8, SHARED_FILE);
	const struct region *region = rt_region_find(&by_query, ARENA);
	struct stat status;
	fstat(fd, &status);
	cr_assert_eq(region->inode, status.st_ino);
	cr_assert(region->device_major == major(status.st_dev) && region->device_minor == minor(status.st_dev));
	cr_assert_str_eq(rt_region_name(&by_query, region), file_path);
	unlink(file_path);
}

Test(region, files_that_are_gone)
{
	int fd = new_file();
	unlink(file_path);
	map_at(0, 3, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	map_at(4, 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect_walks(&no_previous);
	expect_both(0, PRIVATE_FILE_GONE);
	expect_both(4, SHARED);
}

Test(region, memfd)
{
	int fd = memfd_create("scratch", 0);
	cr_assert_eq(ftruncate(fd, 8 * 4096), 0);
	map_at(0, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map_at(4, 3, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	expect_walks(&no_previous);
	expect_both(0, SHARED);
	expect_both(4, PRIVATE_FILE_GONE);
}

Test(region, system_v_segment)
{
	int segment = shmget(IPC_PRIVATE, 3 * 4096, IPC_CREAT | 0600);
	if (segment < 0)
		cr_skip_test("no System V shared memory here");
	cr_assert_eq(shmat(segment, (void *)ARENA, 0), (void *)ARENA);
	shmctl(segment, IPC_RMID, NULL);
	expect_walks(&no_previous);
	expect_both(0, SHARED);
}

Test(region, dev_zero)
{
	int fd = open("/dev/zero", O_RDWR);
	map_at(0, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	map_at(4, 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect_walks(&no_previous);
	expect_both(0, PRIVATE);
	expect_both(4, SHARED);
}

Test(region, stack_and_kernel_mappings)
{
	expect_walks(&no_previous);
	int stacks = 0, special = 0;
	for (size_t i = 0; i < by_query.count; i++) {
		const struct region *region = &by_query.entries[i];
		const char *name = rt_region_name(&by_query, region);
		bool is_stack = strcmp(name, "[stack]") == 0;
		bool is_special = strncmp(name, "[v", 2) == 0;
		cr_assert_eq((region->flags & REGION_GROWSDOWN) != 0, is_stack, "%s", name);
		cr_assert_eq(region->kind == REGION_SPECIAL, is_special, "%s", name);
		cr_assert(!is_special || !region->tracked);
		stacks += is_stack;
		special += is_special;
	}
	cr_assert_eq(stacks, 1);
	cr_assert(special >= 2, "%d mappings of the kernel", special);
	char here;
	const struct region *stack = rt_region_find(&by_query, (uint64_t)&here);
	cr_assert(stack != NULL && stack->tracked);
}

/* ---- what is left out ---- */

Test(region, without_the_runtime_area)
{
	void *block = rt_memory_map(3 * 4096);
	cr_assert_not_null(block);
	map_at(0, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *below =
		mmap((void *)(RT_AREA_BASE - 4096), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	void *restorer =
		mmap((void *)RT_RESTORER_BASE, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	void *above = mmap((void *)RT_RESTORER_END, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	expect_walks(&no_previous);
	cr_assert_null(rt_region_find(&by_query, (uint64_t)block));
	cr_assert_null(rt_region_find(&by_query, (uint64_t)restorer));
	cr_assert_not_null(rt_region_find(&by_query, (uint64_t)below));
	cr_assert_not_null(rt_region_find(&by_query, (uint64_t)above));
}

/* ---- names ---- */

/* The name is asked for again, although the mapping is as it was before. */
static void expect_new_name(const char *what)
{
	static struct region_table before;
	cr_assert_eq(rt_regions_walk(maps_fd, &no_previous, &before), 0);
	cr_assert_not_null(rt_region_find(&before, ARENA));
	if (strcmp(what, "unlinked") == 0) {
		unlink(file_path);
	} else {
		char path[80];
		snprintf(path, sizeof(path), "%s.new", file_path);
		cr_assert_eq(rename(file_path, path), 0);
		strcpy(file_path, path);
	}
	expect_walks(&before);
}

Test(region, file_unlinked_after_the_last_walk)
{
	int fd = new_file();
	map_at(0, 3, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	map_at(4, 2, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	expect_new_name("unlinked");
	expect_both(0, PRIVATE_FILE_GONE);
	expect_both(4, SHARED);
}

Test(region, file_renamed_after_the_last_walk)
{
	int fd = new_file();
	map_at(0, 3, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	expect_new_name("renamed");
	expect_both(0, PRIVATE_FILE);
	unlink(file_path);
}

/* Longer than half of the buffer that lines are read into. */
Test(region, long_path)
{
	static char directory[200], start[64] = "/tmp/test_region_long.XXXXXX";
	cr_assert_not_null(mkdtemp(start));
	cr_assert_eq(chdir(start), 0);
	memset(directory, 'd', sizeof(directory) - 1);
	for (int i = 0; i < 19; i++)
		cr_assert(mkdir(directory, 0700) == 0 && chdir(directory) == 0);
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	cr_assert_eq(ftruncate(fd, 8192), 0);
	map_at(0, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	map_at(3, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	expect_walks(&no_previous);
	expect_both(0, PRIVATE_FILE);
	cr_assert(strlen(rt_region_name(&by_query, rt_region_find(&by_query, ARENA))) > 3800);
	char command[100];
	snprintf(command, sizeof(command), "rm -rf %s", start);
	cr_assert(chdir("/") == 0 && system(command) == 0);
}

/* ---- rt_region_find(), rt_regions_equal() ---- */

static const struct region *find_slowly(const struct region_table *table, uint64_t address)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].start <= address && address < table->entries[i].end)
			return &table->entries[i];
	return NULL;
}

Test(region, find)
{
	cr_assert_null(rt_region_find(&no_previous, 0x1000));
	expect_walks(&no_previous);
	for (size_t i = 0; i < by_query.count; i++) {
		uint64_t start = by_query.entries[i].start, end = by_query.entries[i].end;
		const uint64_t addresses[] = {start - 1, start, start + 1, (start + end) / 2, end - 1, end, end + 1};
		for (size_t j = 0; j < sizeof(addresses) / sizeof(addresses[0]); j++)
			cr_assert_eq(rt_region_find(&by_query, addresses[j]), find_slowly(&by_query, addresses[j]));
	}
	cr_assert_null(rt_region_find(&by_query, 0));
	cr_assert_null(rt_region_find(&by_query, UINT64_MAX));
}

/* Any difference in a mapping is one; a table equals itself. */
Test(region, equal)
{
	static struct region_table other;
	map_at(0, 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_eq(rt_regions_walk(maps_fd, &no_previous, &by_query), 0);
	cr_assert_eq(rt_regions_walk(maps_fd, &by_query, &other), 0);
	cr_assert(rt_regions_equal(&by_query, &other));
	struct region *region = &other.entries[other.count / 2], kept = *region;
#define EXPECT_DIFFERENT(field)                                          \
	do {                                                             \
		region->field = !region->field;                          \
		cr_assert(!rt_regions_equal(&by_query, &other), #field); \
		*region = kept;                                          \
	} while (0)
	EXPECT_DIFFERENT(start);
	EXPECT_DIFFERENT(end);
	EXPECT_DIFFERENT(offset);
	EXPECT_DIFFERENT(inode);
	EXPECT_DIFFERENT(device_major);
	EXPECT_DIFFERENT(device_minor);
	EXPECT_DIFFERENT(prot);
	EXPECT_DIFFERENT(shared);
	cr_assert_eq(mprotect((void *)(ARENA + 4096), 4096, PROT_READ), 0);
	cr_assert_eq(rt_regions_walk(maps_fd, &by_query, &other), 0);
	cr_assert(!rt_regions_equal(&by_query, &other));
	other.count = by_query.count = 0;
	cr_assert(rt_regions_equal(&by_query, &other));
}

/* ---- random mappings ---- */

static int random_prot(void)
{
	static const int prots[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
	return prots[random_below(4)];
}

static void map_randomly(unsigned page, unsigned pages, const int *files)
{
	switch (random_below(5)) {
	case 0: return map_at(page, pages, random_prot(), MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case 1: return map_at(page, pages, random_prot(), MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	default:
		return map_at(page, pages, random_prot(), random_below(2) ? MAP_PRIVATE : MAP_SHARED,
			      files[random_below(3)], (off_t)random_below(ARENA_PAGES - pages) * 4096);
	}
}

static void change_randomly(const int *files)
{
	unsigned page = (unsigned)random_below(ARENA_PAGES - 16), pages = 1 + (unsigned)random_below(16);
	void *start = (void *)(ARENA + page * 4096UL);
	switch (random_below(6)) {
	case 0: munmap(start, pages * 4096UL); break;
	case 1: mprotect(start, pages * 4096UL, random_prot()); break;
	case 2: /* fails over holes and several mappings */
		mremap(start, pages * 4096UL, (1 + random_below(pages)) * 4096UL, MREMAP_MAYMOVE | MREMAP_FIXED,
		       ARENA + (ARENA_PAGES + random_below(ARENA_PAGES)) * 4096UL);
		break;
	default: map_randomly(page, pages, files);
	}
}

Test(region, random_changes, .timeout = 120)
{
	uint64_t seed = seed_random(5);
	int files[3] = {new_file(), memfd_create("random", 0), -1};
	char kept_path[64];
	static struct region_table previous;
	strcpy(kept_path, file_path);
	cr_assert_eq(ftruncate(files[1], ARENA_PAGES * 4096), 0);
	files[2] = new_file();
	unlink(file_path);
	for (int step = 0; step < STEPS; step++) {
		change_randomly(files);
		expect_walks(random_below(2) ? &previous : &no_previous);
		struct region_table older = previous;
		previous = by_query;
		by_query = older;
	}
	unlink(kept_path);
	cr_log_info("seed %lu", seed);
}

/* More mappings, and longer names, than the tables have room for at first. */
Test(region, many)
{
	int fd = new_file();
	for (unsigned i = 0; i < 3000; i++) {
		void *wanted = (void *)(ARENA + 3 * i * 4096UL);
		cr_assert_eq(mmap(wanted, 4096, i % 3 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_FIXED, fd, 0), wanted);
	}
	unlink(file_path);
	expect_walks(&no_previous);
	cr_assert(by_query.count > 3000);
}

/* ---- the manifest ---- */

static size_t read_records(const struct manifest_writer *writer, const struct region_table *table)
{
	struct manifest_reader reader = {.bytes = writer->bytes, .length = writer->length};
	uint32_t kind, length;
	const void *payload;
	size_t count = 0;
	while (rt_manifest_next(&reader, &kind, &payload, &length) == 1) {
		const struct manifest_region *record = payload;
		const struct region *region = &table->entries[count++];
		cr_assert_eq(kind, MANIFEST_REGION);
		cr_assert(record->start == region->start && record->end == region->end);
		cr_assert(record->kind == region->kind && record->prot == region->prot);
		const char *name = rt_manifest_string(payload, length, sizeof(*record), record->path_length);
		cr_assert(name != NULL && strcmp(name, rt_region_name(table, region)) == 0);
	}
	return count;
}

Test(region, manifest)
{
	struct manifest_writer writer = {0};
	int fd = new_file();
	struct stat status;
	map_at(0, 3, PROT_READ, MAP_PRIVATE, fd, 4096);
	expect_walks(&no_previous);
	rt_regions_write(&by_query, &writer);
	cr_assert(!writer.failed);
	cr_assert_eq(read_records(&writer, &by_query), by_query.count);
	fstat(fd, &status);
	struct manifest_reader reader = {.bytes = writer.bytes, .length = writer.length};
	uint32_t kind, length;
	const struct manifest_region *record;
	do {
		cr_assert_eq(rt_manifest_next(&reader, &kind, (const void **)&record, &length), 1);
	} while (record->start != ARENA);
	cr_assert(record->device == status.st_dev && record->inode == status.st_ino && record->offset == 4096);
	cr_assert_eq(record->size, (uint64_t)status.st_size);
	cr_assert_eq(record->mtime_ns, status.st_mtim.tv_sec * 1000000000L + status.st_mtim.tv_nsec);
	unlink(file_path);
}
