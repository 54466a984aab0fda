/* Finding code in Go; see go.h. */
#include "go.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>

#include "files/build_id.h"

#define GO_BUILD_ID_NOTE 4 /* ELF_NOTE_GOBUILDID_TAG of Go's linker */

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
	size_t length;
	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const Elf64_Phdr *segment = &object->dlpi_phdr[i];
		const uint8_t *notes = (const uint8_t *)(object->dlpi_addr + segment->p_vaddr);
		if (segment->p_type == PT_NOTE && is_loaded(object, segment) &&
		    rt_find_note(notes, segment->p_memsz, GO_BUILD_ID_NOTE, "Go\0", &length) != NULL)
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
