#include "build_id.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define MAX_NOTES 4096 /* bytes of a note segment that are looked at */
#define ALIGN4(x) (((x) + 3) & ~(size_t)3)

static bool notes_have(const uint8_t *notes, size_t length, const uint8_t *id)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= length;) {
		Elf64_Nhdr note;
		memcpy(&note, notes + at, sizeof(note));
		size_t name = at + sizeof(note), contents = name + ALIGN4((size_t)note.n_namesz);
		size_t end = contents + ALIGN4((size_t)note.n_descsz);
		if (end > length || end <= at)
			return false;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(notes + name, "GNU", 4) == 0)
			return note.n_descsz == REGION_BUILD_ID_SIZE &&
			       memcmp(notes + contents, id, REGION_BUILD_ID_SIZE) == 0;
		at = end;
	}
	return false;
}

static bool segments_have(int fd, const Elf64_Ehdr *header, const uint8_t *id)
{
	for (int i = 0; i < header->e_phnum; i++) {
		Elf64_Phdr segment;
		uint8_t notes[MAX_NOTES];
		off_t at = (off_t)(header->e_phoff + (uint64_t)i * header->e_phentsize);
		if (pread(fd, &segment, sizeof(segment), at) != (ssize_t)sizeof(segment))
			return false;
		if (segment.p_type != PT_NOTE)
			continue;
		size_t length = segment.p_filesz < sizeof(notes) ? segment.p_filesz : sizeof(notes);
		ssize_t got = pread(fd, notes, length, (off_t)segment.p_offset);
		if (got > 0 && notes_have(notes, (size_t)got, id))
			return true;
	}
	return false;
}

bool file_has_build_id(const char *path, const uint8_t id[REGION_BUILD_ID_SIZE])
{
	static const uint8_t none[REGION_BUILD_ID_SIZE];
	Elf64_Ehdr header;
	if (memcmp(id, none, sizeof(none)) == 0)
		return false;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool same = pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
		    memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
		    segments_have(fd, &header, id);
	close(fd);
	return same;
}
