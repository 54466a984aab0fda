/* Build-ids; see build_id.h. Raw system calls only. */
#include "build_id.h"

#include <elf.h>
#include <string.h>
#include <sys/uio.h>

#include "base/sys.h"

#define MAX_NOTES 4096 /* bytes of a note segment that are looked at */
#define MAX_SEGMENTS 64
#define ALIGN4(x) (((x) + 3) & ~(size_t)3)

const uint8_t *rt_find_note(const uint8_t *notes, size_t length, uint32_t type, const char name[4], size_t *found)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= length;) {
		Elf64_Nhdr note;
		memcpy(&note, notes + at, sizeof(note));
		size_t name_at = at + sizeof(note), contents = name_at + ALIGN4((size_t)note.n_namesz);
		size_t end = contents + ALIGN4((size_t)note.n_descsz);
		if (contents + note.n_descsz > length || end <= at)
			return NULL;
		if (note.n_type == type && note.n_namesz == 4 && memcmp(notes + name_at, name, 4) == 0) {
			*found = note.n_descsz;
			return notes + contents;
		}
		at = end;
	}
	return NULL;
}

bool rt_build_id_in_notes(const uint8_t *notes, size_t length, uint8_t id[REGION_BUILD_ID_SIZE])
{
	size_t size;
	const uint8_t *found = rt_find_note(notes, length, NT_GNU_BUILD_ID, "GNU", &size);
	if (found == NULL || size != REGION_BUILD_ID_SIZE)
		return false;
	memcpy(id, found, REGION_BUILD_ID_SIZE);
	return true;
}

/* Bytes of [start, end) at `offset`. False: they are not all there. */
static bool read_mapping(uint64_t start, uint64_t end, uint64_t offset, void *bytes, size_t length)
{
	if (offset > end - start || length > end - start - offset)
		return false;
	struct iovec local = {bytes, length}, remote = {(void *)(start + offset), length};
	return rt_syscall(SYS_process_vm_readv, rt_sys_getpid(), &local, 1, &remote, 1, 0) == (long)length;
}

bool rt_build_id_of_mapping(uint64_t start, uint64_t end, uint8_t id[REGION_BUILD_ID_SIZE])
{
	uint8_t notes[MAX_NOTES];
	Elf64_Ehdr header;
	if (!read_mapping(start, end, 0, &header, sizeof(header)) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
	    header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
		return false;
	for (unsigned i = 0; i < header.e_phnum && i < MAX_SEGMENTS; i++) {
		Elf64_Phdr segment;
		if (!read_mapping(start, end, header.e_phoff + i * sizeof(segment), &segment, sizeof(segment)))
			return false;
		size_t length = segment.p_filesz < sizeof(notes) ? segment.p_filesz : sizeof(notes);
		if (segment.p_type == PT_NOTE && read_mapping(start, end, segment.p_offset, notes, length) &&
		    rt_build_id_in_notes(notes, length, id))
			return true;
	}
	return false;
}
