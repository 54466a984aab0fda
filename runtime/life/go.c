/* Finding code in Go; see go.h. */
#include "go.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GO_BUILD_ID_NOTE 4 /* ELF_NOTE_GOBUILDID_TAG of Go's linker */

static bool has_go_note(const uint8_t *notes, size_t length, size_t alignment)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= length;) {
		Elf64_Nhdr note;
		memcpy(&note, notes + at, sizeof(note));
		size_t name = at + sizeof(note);
		if (note.n_type == GO_BUILD_ID_NOTE && note.n_namesz == 4 && name + 4 <= length &&
		    memcmp(notes + name, "Go", 3) == 0)
			return true;
		size_t contents = name + ((size_t)note.n_namesz + alignment - 1) / alignment * alignment;
		at = contents + ((size_t)note.n_descsz + alignment - 1) / alignment * alignment;
	}
	return false;
}

/* A segment of notes need not be in memory. */
static bool is_loaded(const struct dl_phdr_info *object, const Elf64_Phdr *part)
{
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const Elf64_Phdr *segment = &object->dlpi_phdr[i];
		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R) && part->p_vaddr >= segment->p_vaddr &&
		    part->p_memsz <= segment->p_filesz &&
		    part->p_vaddr - segment->p_vaddr <= segment->p_filesz - part->p_memsz)
			return true;
	}
	return false;
}

static int find_go(struct dl_phdr_info *object, size_t size, void *found)
{
	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const Elf64_Phdr *segment = &object->dlpi_phdr[i];
		const uint8_t *notes = (const uint8_t *)(object->dlpi_addr + segment->p_vaddr);
		if (segment->p_type == PT_NOTE && is_loaded(object, segment) &&
		    has_go_note(notes, segment->p_memsz, segment->p_align == 8 ? 8 : 4))
			*(bool *)found = true;
	}
	return 0;
}

bool rt_has_go(void)
{
	bool found = false;
	dl_iterate_phdr(find_go, &found);
	return found;
}
