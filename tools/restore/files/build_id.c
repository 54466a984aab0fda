#include "build_id.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/build_id.h"

#define MAX_NOTES 4096 /* bytes of a note segment that are looked at */
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
		uint8_t found[REGION_BUILD_ID_SIZE];
		if (got > 0 && rt_build_id_in_notes(notes, (size_t)got, found))
			return memcmp(found, id, sizeof(found)) == 0;
	}
	return false;
}

bool file_has_build_id(const char *path, const uint8_t id[REGION_BUILD_ID_SIZE])
{
	static const uint8_t none[REGION_BUILD_ID_SIZE];
	Elf64_Ehdr header;
	struct stat status;
	if (memcmp(id, none, sizeof(none)) == 0)
		return false;
	/* A FIFO in its place must not make us wait. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool same = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
		    pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
		    memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
		    segments_have(fd, &header, id);
	close(fd);
	return same;
}
