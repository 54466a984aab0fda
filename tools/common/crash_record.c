/* Reading the record of a crash; see crash_record.h. */
#include "crash_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"
#include "store/store.h"

#define FILE_PAGE_SIZE 4096UL

/* What is read with its bounds. */
struct span {
	const uint8_t *at;
	size_t left;
};

static const void *take(struct span *span, size_t length)
{
	const void *start = span->at;
	if (length > span->left)
		return NULL;
	span->at += length;
	span->left -= length;
	return start;
}

/* Notes are padded to four bytes. */
static const void *take_padded(struct span *span, size_t length)
{
	return length > UINT32_MAX ? NULL : take(span, (length + 3) & ~(size_t)3);
}

/* ---- notes ---- */

static bool take_files(struct crash_record *record, const void *bytes, size_t length)
{
	uint64_t head[2], entry[3];
	struct span span = {bytes, length};
	const void *at = take(&span, sizeof(head));
	if (at == NULL || record->files != NULL)
		return false;
	memcpy(head, at, sizeof(head));
	if (head[0] > span.left / sizeof(entry) || head[1] != FILE_PAGE_SIZE)
		return false;
	struct span entries = span;
	take(&span, head[0] * sizeof(entry)); /* the names follow */
	record->files = calloc(head[0] + 1, sizeof(*record->files));
	if (record->files == NULL)
		refuse("out of memory");
	for (; record->file_count < head[0]; record->file_count++) {
		struct crash_file *file = &record->files[record->file_count];
		memcpy(entry, take(&entries, sizeof(entry)), sizeof(entry));
		const char *name = (const char *)span.at;
		const char *end = memchr(name, '\0', span.left);
		if (end == NULL || entry[0] >= entry[1] || entry[2] > UINT64_MAX / FILE_PAGE_SIZE)
			return false;
		*file = (struct crash_file){entry[0], entry[1], entry[2] * FILE_PAGE_SIZE, name};
		if (record->file_count > 0 && file[-1].end > file->start)
			return false;
		take(&span, (size_t)(end - name) + 1);
	}
	return true;
}

static bool take_status(struct crash_record *record, const void *bytes, size_t length)
{
	struct elf_prstatus status;
	if (length != sizeof(status))
		return false;
	memcpy(&status, bytes, sizeof(status));
	record->thread = status.pr_pid;
	memcpy(record->registers, status.pr_reg, sizeof(record->registers));
	return true;
}

/* Copies a note that must have exactly this length. */
static bool take_whole(void *to, size_t wanted, const void *bytes, size_t length)
{
	if (length != wanted)
		return false;
	memcpy(to, bytes, wanted);
	return true;
}

static bool take_note(struct crash_record *record, const char *owner, uint32_t type, const void *bytes, size_t length)
{
	if (strcmp(owner, CRASH_NOTE_OWNER) == 0)
		return type != CRASH_NOTE_TYPE || take_whole(&record->note, sizeof(record->note), bytes, length);
	switch (type) {
	case NT_PRSTATUS: return take_status(record, bytes, length);
	case NT_SIGINFO: return take_whole(&record->info, sizeof(record->info), bytes, length);
	case NT_FILE: return take_files(record, bytes, length);
	default: return true;
	}
}

static bool take_notes(struct crash_record *record, struct span span)
{
	while (span.left > 0) {
		Elf64_Nhdr header;
		const void *at = take(&span, sizeof(header));
		if (at == NULL)
			return false;
		memcpy(&header, at, sizeof(header));
		const char *owner = take_padded(&span, header.n_namesz);
		const void *bytes = take_padded(&span, header.n_descsz);
		if (owner == NULL || bytes == NULL || header.n_namesz == 0 || owner[header.n_namesz - 1] != '\0' ||
		    !take_note(record, owner, header.n_type, bytes, header.n_descsz))
			return false;
	}
	return true;
}

/* ---- the file ---- */

static bool take_segment(struct crash_record *record, const Elf64_Phdr *segment)
{
	if (segment->p_offset > record->length || segment->p_filesz > record->length - segment->p_offset)
		return false;
	const uint8_t *bytes = record->bytes + segment->p_offset;
	if (segment->p_type == PT_NOTE)
		return take_notes(record, (struct span){bytes, segment->p_filesz});
	if (segment->p_type != PT_LOAD || segment->p_vaddr + segment->p_filesz < segment->p_vaddr)
		return false;
	record->stack = bytes;
	record->stack_start = segment->p_vaddr;
	record->stack_length = segment->p_filesz;
	return true;
}

static bool parse(struct crash_record *record)
{
	Elf64_Ehdr header;
	struct span span = {record->bytes, record->length};
	const void *at = take(&span, sizeof(header));
	if (at == NULL)
		return false;
	memcpy(&header, at, sizeof(header));
	if (header.e_type != ET_CORE || header.e_machine != EM_X86_64 || header.e_phentsize != sizeof(Elf64_Phdr) ||
	    header.e_phoff != sizeof(header))
		return false;
	for (unsigned i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;
		if ((at = take(&span, sizeof(segment))) == NULL)
			return false;
		memcpy(&segment, at, sizeof(segment));
		if (!take_segment(record, &segment))
			return false;
	}
	return record->info.si_signo > 0 && record->info.si_signo < NSIG && record->thread > 0 &&
	       memchr(record->note.thread_name, '\0', sizeof(record->note.thread_name)) != NULL;
}

/* The whole file; NULL when there is nothing in it. */
static uint8_t *read_file(const char *directory, size_t *length)
{
	struct stat status;
	int fd = rt_store_open_file(directory, CRASH_FILE, O_RDONLY, 0);
	if (fd < 0)
		return NULL;
	uint8_t *bytes = NULL;
	if (fstat(fd, &status) == 0 && status.st_size >= SELFMAG &&
	    status.st_size <= CRASH_HEAD_LIMIT + CRASH_STACK_LIMIT) {
		*length = (size_t)status.st_size;
		bytes = malloc(*length);
		if (bytes != NULL &&
		    (pread(fd, bytes, *length, 0) != (ssize_t)*length || memcmp(bytes, ELFMAG, SELFMAG) != 0)) {
			free(bytes);
			bytes = NULL;
		}
	}
	close(fd);
	return bytes;
}

bool crash_read(const char *directory, struct crash_record *record)
{
	memset(record, 0, sizeof(*record));
	record->bytes = read_file(directory, &record->length);
	if (record->bytes == NULL)
		return false;
	if (parse(record))
		return true;
	report("%s/%s: damaged: not the record of a crash", directory, CRASH_FILE);
	crash_free(record);
	return false;
}

void crash_free(struct crash_record *record)
{
	free(record->files);
	free(record->bytes);
	memset(record, 0, sizeof(*record));
}

const struct crash_file *crash_file_at(const struct crash_record *record, uint64_t address)
{
	for (size_t i = 0; i < record->file_count; i++)
		if (address >= record->files[i].start && address < record->files[i].end)
			return &record->files[i];
	return NULL;
}

/* ---- in words ---- */

static const char *code_text(const siginfo_t *info)
{
	switch (info->si_signo) {
	case SIGSEGV:
		return info->si_code == SEGV_MAPERR   ? "address not mapped"
		       : info->si_code == SEGV_ACCERR ? "no permission"
		       : info->si_code == SEGV_PKUERR ? "protection key"
						      : "an address that cannot be";
	case SIGBUS:
		return info->si_code == BUS_ADRALN   ? "unaligned address"
		       : info->si_code == BUS_ADRERR ? "nothing behind the mapping"
						     : "hardware error";
	case SIGFPE: return info->si_code == FPE_INTDIV ? "integer divided by zero" : "arithmetic exception";
	case SIGILL: return "illegal instruction";
	case SIGSYS: return "forbidden system call";
	default: return "trap";
	}
}

void crash_describe(const struct crash_record *record, char *text, size_t size)
{
	const siginfo_t *info = &record->info;
	const char *name = sigabbrev_np(info->si_signo);
	char how[128];
	if (info->si_code > 0 && info->si_code != SI_KERNEL)
		snprintf(how, sizeof(how), "at 0x%lx (%s)", (unsigned long)info->si_addr, code_text(info));
	else if (info->si_code > 0)
		snprintf(how, sizeof(how), "(%s)", code_text(info));
	else if (info->si_pid == record->note.pid)
		snprintf(how, sizeof(how), "raised by itself");
	else
		snprintf(how, sizeof(how), "sent by process %d, user %u", info->si_pid, info->si_uid);
	snprintf(text, size, "SIG%s %s in thread %d \"%s\"", name ? name : "?", how, record->thread,
		 record->note.thread_name);
}
