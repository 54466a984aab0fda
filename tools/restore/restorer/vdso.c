/*
 * Where the vDSO goes; see vdso.h.
 *
 * Under the same kernel [vvar] and [vdso] are moved to their old places. Under another one, the old
 * [vdso] comes back from the store as ordinary memory, and the first bytes of each function become a
 * jump to this kernel's function, near enough for five bytes. The old [vvar] becomes a page of zeros:
 * code of the old vDSO that is still on some stack (a signal handler interrupted it) reads from that
 * that there is no clock to be read in user mode and makes the system call. No thread is captured in
 * the vDSO itself, see runtime/threads/straggler.c.
 */
#include "vdso.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "common/report.h"
#include "layout.h"

#define SIZE_LIMIT (PLAN_MAX_VDSO_PAGES * RT_PAGE_SIZE) /* bytes of a vDSO */
#define REACH ((1UL << 31) - (1UL << 24))               /* of a jump, with the sizes of all involved */
#define STACK_ROOM (1UL << 30)                          /* left below a mapping that grows down */
#define JUMP_SIZE 5
#define TEST_VARIABLE "RESPCT_TEST_FOREIGN_VDSO" /* takes this kernel's vDSO for another one */

/* The functions of a vDSO; everything points into `image`. */
struct vdso {
	const uint8_t *image;
	uint64_t size;
	const uint8_t *symbols; /* of Elf64_Sym */
	uint64_t symbol_count;
	const char *strings;
	uint64_t strings_size;
};

/* ---- reading one ---- */

static bool lies_within(const struct vdso *vdso, uint64_t offset, uint64_t length)
{
	return offset <= vdso->size && length <= vdso->size - offset;
}

static bool read_section(const struct vdso *vdso, const Elf64_Ehdr *header, unsigned index, Elf64_Shdr *section)
{
	uint64_t offset = header->e_shoff + (uint64_t)index * sizeof(*section);
	if (index >= header->e_shnum || header->e_shoff > vdso->size || !lies_within(vdso, offset, sizeof(*section)))
		return false;
	memcpy(section, vdso->image + offset, sizeof(*section));
	return section->sh_type == SHT_NOBITS || lies_within(vdso, section->sh_offset, section->sh_size);
}

/* Finds the table of dynamic symbols. The image is the whole file, its addresses are offsets. */
static bool open_vdso(struct vdso *vdso, const void *image, uint64_t size)
{
	Elf64_Ehdr header;
	Elf64_Shdr symbols = {0}, strings;
	*vdso = (struct vdso){.image = image, .size = size};
	if (size < sizeof(header))
		return false;
	memcpy(&header, image, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    header.e_shentsize != sizeof(Elf64_Shdr))
		return false;
	for (unsigned i = 0; i < header.e_shnum && symbols.sh_type != SHT_DYNSYM; i++)
		if (!read_section(vdso, &header, i, &symbols))
			return false;
	if (symbols.sh_type != SHT_DYNSYM || !read_section(vdso, &header, symbols.sh_link, &strings) ||
	    strings.sh_type != SHT_STRTAB)
		return false;
	vdso->symbols = vdso->image + symbols.sh_offset;
	vdso->symbol_count = symbols.sh_size / sizeof(Elf64_Sym);
	vdso->strings = (const char *)vdso->image + strings.sh_offset;
	vdso->strings_size = strings.sh_size;
	return true;
}

/* The function that is symbol number `index`: its name, or NULL when it is none. */
static const char *function_at(const struct vdso *vdso, uint64_t index, uint64_t *offset)
{
	Elf64_Sym symbol;
	memcpy(&symbol, vdso->symbols + index * sizeof(symbol), sizeof(symbol));
	if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF ||
	    symbol.st_name >= vdso->strings_size || !lies_within(vdso, symbol.st_value, JUMP_SIZE))
		return NULL;
	const char *name = vdso->strings + symbol.st_name;
	if (memchr(name, '\0', vdso->strings_size - symbol.st_name) == NULL)
		return NULL;
	*offset = symbol.st_value;
	return name;
}

static bool find_function(const struct vdso *vdso, const char *wanted, uint64_t *offset)
{
	for (uint64_t i = 0; i < vdso->symbol_count; i++) {
		const char *name = function_at(vdso, i, offset);
		if (name != NULL && strcmp(name, wanted) == 0)
			return true;
	}
	return false;
}

/* ---- ours and the program's ---- */

/* Our own [vvar], [vvar_vclock] and [vdso], in order. Returns the index of [vdso], -1: none. */
static int find_own(struct plan *plan)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	int vdso = -1;
	if (maps == NULL)
		refuse("/proc/self/maps: %s", strerror(errno));
	while (fgets(line, sizeof(line), maps) != NULL) {
		unsigned long start, end;
		bool is_vdso = strstr(line, "[vdso]") != NULL;
		if ((!is_vdso && strstr(line, "[vvar") == NULL) || sscanf(line, "%lx-%lx", &start, &end) != 2 ||
		    plan->special_count == PLAN_MAX_SPECIAL)
			continue;
		if (is_vdso)
			vdso = (int)plan->special_count;
		plan->special[plan->special_count++] = (struct plan_special){.start = start, .length = end - start};
	}
	fclose(maps);
	return vdso;
}

/* The program's vDSO as it was, in our memory. */
static uint8_t *load_old(const struct image *image, uint64_t size)
{
	if (size > SIZE_LIMIT)
		refuse("the store is damaged: a vDSO of %lu bytes", (unsigned long)size);
	uint8_t *copy = malloc(size + 1);
	if (copy == NULL)
		refuse("out of memory");
	for (uint64_t at = 0; at < size; at += RT_PAGE_SIZE) {
		const void *page = rt_store_page(image->store, RT_STORED_VDSO + at);
		if (page == NULL)
			refuse("the store has no copy of the vDSO of the checkpoint's kernel");
		memcpy(copy + at, page, RT_PAGE_SIZE);
	}
	return copy;
}

/* What is written into the old vDSO is written where it will be. */
static void require_region(const struct image *image)
{
	const struct manifest_process *process = image->process;
	const struct manifest_region *record;
	size_t cursor = 0;
	uint32_t length;
	while ((record = image_next(image, &cursor, MANIFEST_REGION, &length)) != NULL)
		if (record->kind == REGION_SPECIAL && record->start == process->vdso_start &&
		    record->end == process->vdso_end)
			return;
	refuse("the store is damaged: a vDSO at 0x%lx, where no region is one", (unsigned long)process->vdso_start);
}

/* Whether the program had these mappings, with this vDSO; then they go where they were. */
static bool place_as_before(const struct image *image, struct plan *plan, bool same_code)
{
	uint32_t index = 0, length;
	size_t cursor = 0;
	const struct manifest_region *record;
	if (!same_code || getenv(TEST_VARIABLE) != NULL)
		return false;
	while ((record = image_next(image, &cursor, MANIFEST_REGION, &length)) != NULL) {
		if (record->kind != REGION_SPECIAL)
			continue;
		if (index == plan->special_count || plan->special[index].length != record->end - record->start)
			return false;
		plan->special[index++].target = record->start;
	}
	return index == plan->special_count;
}

/* ---- another kernel's ---- */

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* A free place for `size` bytes, as near to `old` as there is. */
static uint64_t find_place(const struct image *image, uint64_t size, uint64_t old)
{
	uint64_t best = 0, previous_end = 1UL << 16;
	size_t cursor = 0;
	uint32_t length;
	const struct manifest_region *record;
	do {
		record = image_next(image, &cursor, MANIFEST_REGION, &length);
		uint64_t end = record ? record->start : RT_USER_END;
		uint64_t room = size + 2 * RT_PAGE_SIZE;
		if (record != NULL && (record->flags & REGION_GROWSDOWN))
			room += STACK_ROOM;
		if (end > previous_end && end - previous_end >= room) {
			uint64_t low = previous_end + RT_PAGE_SIZE, high = end - room + RT_PAGE_SIZE;
			uint64_t place = distance(low, old) < distance(high, old) ? low : high;
			if (!(place + size > RT_AREA_BASE && place < RT_RESTORER_END) &&
			    (best == 0 || distance(place, old) < distance(best, old)))
				best = place;
		}
		previous_end = record ? record->end : 0;
	} while (record != NULL);
	return best;
}

static void add_jump(struct plan *plan, uint64_t from, uint64_t to)
{
	int32_t relative = (int32_t)(int64_t)(to - (from + JUMP_SIZE));
	if (plan->patch_count == PLAN_MAX_PATCHES)
		refuse("the vDSO of the checkpoint's kernel has too many functions");
	struct plan_patch *patch = &plan->patches[plan->patch_count++];
	patch->address = from;
	patch->length = JUMP_SIZE;
	patch->bytes[0] = 0xe9; /* jmp rel32 */
	memcpy(patch->bytes + 1, &relative, sizeof(relative));
}

static bool is_patched(const struct plan *plan, uint64_t address)
{
	for (uint32_t i = 0; i < plan->patch_count; i++)
		if (plan->patches[i].address == address)
			return true;
	return false;
}

/* Lets each function of the old vDSO jump to the one of that name. One that this kernel lacks stays: it
 * finds nothing it could use in [vvar] and makes the system call. */
static void plan_jumps(struct plan *plan, const struct vdso *old, uint64_t old_start, const struct vdso *now,
		       uint64_t new_start)
{
	for (uint64_t i = 0; i < old->symbol_count; i++) {
		uint64_t from, to;
		const char *name = function_at(old, i, &from);
		if (name != NULL && find_function(now, name, &to) && !is_patched(plan, old_start + from))
			add_jump(plan, old_start + from, new_start + to);
	}
}

void plan_vdso(const struct image *image, struct plan *plan)
{
	uint64_t old_start = image->process->vdso_start, old_size = image->process->vdso_end - old_start;
	int index = find_own(plan);
	const struct plan_special *own = index < 0 ? NULL : &plan->special[index];
	uint8_t *copy = load_old(image, old_size);
	bool same_code = old_size == 0 ? own == NULL
				       : own != NULL && own->length == old_size &&
						 memcmp((const void *)own->start, copy, old_size) == 0;
	if (place_as_before(image, plan, same_code)) {
		free(copy);
		return;
	}
	if (old_size != 0)
		require_region(image);
	struct vdso old, now;
	if (own == NULL || !open_vdso(&now, (const void *)own->start, own->length) ||
	    (old_size != 0 && !open_vdso(&old, copy, old_size)))
		refuse("this kernel's vDSO differs from that of the checkpoint and cannot take its place: restore "
		       "under the same kernel");
	uint64_t first = plan->special[0].start;
	const struct plan_special *last = &plan->special[plan->special_count - 1];
	uint64_t place = find_place(image, last->start + last->length - first, old_start);
	if (place == 0 || (old_size != 0 && distance(place, old_start) > REACH))
		refuse("this kernel's vDSO differs from that of the checkpoint, and there is no room for it near the "
		       "old one: restore under the same kernel");
	for (uint32_t i = 0; i < plan->special_count; i++)
		plan->special[i].target = place + (plan->special[i].start - first);
	plan->foreign_vdso = 1;
	if (old_size != 0)
		plan_jumps(plan, &old, old_start, &now, own->target);
	free(copy);
}
