/* Unwinding a recorded crash; see backtrace.h. libdw does it where there is one when this is built;
 * without it only the place of the crash is known. */
#include "backtrace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/plain.h"

/* Places in elf_gregset_t, which is the kernel's struct user_regs_struct. */
enum { R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI, ORIG_RAX, RIP, CS, RFLAGS, RSP };

static void print_frame(const struct crash_record *record, int number, uint64_t pc, const char *function,
			uint64_t offset, const char *source, int line)
{
	const struct crash_file *file = crash_file_at(record, pc);
	printf("  #%-2d 0x%012lx", number, (unsigned long)pc);
	if (function != NULL)
		printf(" %s+0x%lx", plain_text(function), (unsigned long)offset);
	if (source != NULL)
		printf(" (%s:%d)", plain_text(source), line);
	if (file != NULL)
		printf(" in %s+0x%lx", plain_text(file->path), (unsigned long)(pc - file->start + file->offset));
	printf("\n");
}

#ifdef HAVE_LIBDW

#include <elfutils/libdwfl.h>

#define MAX_FRAMES 256

struct backtrace {
	const struct crash_record *record;
	Dwarf_Word registers[17]; /* in DWARF's order; the last is the instruction pointer */
	int frames;
	bool returned; /* the first frame unwound is at a return address */
};

static bool read_stack(const struct crash_record *record, uint64_t address, uint64_t *value)
{
	if (address < record->stack_start || record->stack_length < sizeof(*value) ||
	    address - record->stack_start > record->stack_length - sizeof(*value))
		return false;
	memcpy(value, record->stack + (address - record->stack_start), sizeof(*value));
	return true;
}

/* ---- what libdw asks for ---- */

static pid_t next_thread(Dwfl *dwfl, void *argument, void **thread)
{
	(void)dwfl;
	const struct backtrace *backtrace = argument;
	if (*thread != NULL)
		return 0;
	*thread = argument;
	return backtrace->record->thread;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *value, void *argument)
{
	(void)dwfl;
	const struct backtrace *backtrace = argument;
	return read_stack(backtrace->record, address, value);
}

static bool set_registers(Dwfl_Thread *thread, void *argument)
{
	const struct backtrace *backtrace = argument;
	return dwfl_thread_state_registers(thread, 0, 17, backtrace->registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread, .memory_read = read_memory, .set_initial_registers = set_registers};

static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_build_id_find_elf,
					 .find_debuginfo = dwfl_standard_find_debuginfo};

/* ---- */

static int print_unwound(Dwfl_Frame *frame, void *argument)
{
	struct backtrace *backtrace = argument;
	Dwarf_Addr pc;
	bool exact;
	if (!dwfl_frame_pc(frame, &pc, &exact) || backtrace->frames == MAX_FRAMES)
		return DWARF_CB_ABORT;
	/* A call may be the last instruction of its function: its return address is the next one's. */
	Dwarf_Addr looked_up = exact && !backtrace->returned ? pc : pc - 1;
	backtrace->returned = false;
	Dwfl_Module *module = dwfl_addrmodule(dwfl_thread_dwfl(dwfl_frame_thread(frame)), looked_up);
	const char *function = NULL, *source = NULL;
	GElf_Off offset = 0;
	GElf_Sym symbol;
	int line = 0;
	if (module != NULL) {
		function = dwfl_module_addrinfo(module, looked_up, &offset, &symbol, NULL, NULL, NULL);
		Dwfl_Line *place = dwfl_module_getsrc(module, looked_up);
		if (place != NULL)
			source = dwfl_lineinfo(place, NULL, &line, NULL, NULL, NULL);
	}
	print_frame(backtrace->record, backtrace->frames++, pc, function, offset + (pc - looked_up), source, line);
	return DWARF_CB_OK;
}

/* Files are named by the record: nothing but a regular one is opened. */
static void report_file(Dwfl *dwfl, const struct crash_file *file)
{
	struct stat status;
	int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
	    dwfl_report_elf(dwfl, file->path, file->path, fd, file->start, false) == NULL)
		close(fd);
}

static void report_files(Dwfl *dwfl, const struct crash_record *record)
{
	const char *last = "";
	dwfl_report_begin(dwfl);
	for (size_t i = 0; i < record->file_count; i++) {
		const struct crash_file *file = &record->files[i];
		if (file->offset == 0 && strcmp(file->path, last) != 0)
			report_file(dwfl, file);
		last = file->path;
	}
	dwfl_report_end(dwfl, NULL, NULL);
}

static void take_registers(struct backtrace *backtrace)
{
	static const int order[17] = {RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP, R8,
				      R9,  R10, R11, R12, R13, R14, R15, RIP};
	for (int i = 0; i < 17; i++)
		backtrace->registers[i] = backtrace->record->registers[order[i]];
}

/* A call through a wild pointer: nothing is known of the place, but who called lies on the stack. */
static void step_out_of_nowhere(struct backtrace *backtrace)
{
	Dwarf_Word *pc = &backtrace->registers[16], *stack_pointer = &backtrace->registers[7];
	uint64_t caller;
	if (crash_file_at(backtrace->record, *pc) != NULL || !read_stack(backtrace->record, *stack_pointer, &caller))
		return;
	print_frame(backtrace->record, backtrace->frames++, *pc, NULL, 0, NULL, 0);
	*pc = caller;
	*stack_pointer += sizeof(caller);
	backtrace->returned = true;
}

void print_backtrace(const struct crash_record *record)
{
	struct backtrace backtrace = {.record = record};
	Dwfl *dwfl = dwfl_begin(&callbacks);
	take_registers(&backtrace);
	step_out_of_nowhere(&backtrace);
	if (dwfl != NULL) {
		report_files(dwfl, record);
		if (dwfl_attach_state(dwfl, NULL, record->thread, &thread_callbacks, &backtrace))
			dwfl_getthread_frames(dwfl, record->thread, print_unwound, &backtrace);
		dwfl_end(dwfl);
	}
	if (backtrace.frames == 0)
		print_frame(record, 0, record->registers[RIP], NULL, 0, NULL, 0);
}

#else

void print_backtrace(const struct crash_record *record)
{
	print_frame(record, 0, record->registers[RIP], NULL, 0, NULL, 0);
	printf("  (no more is known: respct was built without libdw)\n");
}

#endif
