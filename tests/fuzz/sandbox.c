/* See sandbox.h. */
#include "sandbox.h"

#include <argp.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <setjmp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "runtime/layout.h"
#include "tools/common/report.h"

#define EXIT_WRONG 3   /* what was found is wrong */
#define WORK_S 20      /* more processor time for one input is a loop without end */
#define PATIENCE_S 300 /* more time, on a busy machine, is a hang */
#define SCRATCH_LIMIT "size=64m,nr_inodes=4096"
#define DESCRIPTOR_LIMIT 2048

const char *const sandbox_files[SANDBOX_FILES] = {"/",      "/program", "/file",     "/dir",
						  "/dir/a", "/dir/b",   "/dir/link", "/dir/fifo"};

static const char *scratch; /* the file system, as seen from outside */
static uint64_t inodes[SANDBOX_FILES];

/* ---- once ---- */

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return done;
}

static bool enter_namespaces(void)
{
	char users[64], groups[64];
	snprintf(users, sizeof(users), "%u %u 1", geteuid(), geteuid());
	snprintf(groups, sizeof(groups), "%u %u 1", getegid(), getegid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) == 0 &&
	       put("/proc/self/setgroups", "deny") && put("/proc/self/uid_map", users) &&
	       put("/proc/self/gid_map", groups);
}

/* A directory that is there everywhere; only this process sees what is mounted on it. */
static bool mount_scratch(void)
{
	char path[64];
	scratch = access("/mnt", F_OK) == 0 ? "/mnt" : "/sys";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("scratch", scratch, "tmpfs", MS_NOSUID | MS_NODEV, SCRATCH_LIMIT) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/proc", scratch);
	if (mkdir(path, 0700) < 0 || mount("/proc", path, NULL, MS_BIND | MS_REC, NULL) < 0 ||
	    mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/dev", scratch);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/dev/null", scratch);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	return fd >= 0 && mount("/dev/null", path, NULL, MS_BIND, NULL) == 0;
}

static void raise_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
}

bool sandbox_open(void)
{
	if (!enter_namespaces() || !mount_scratch())
		return false;
	raise_loopback();
	/* What the tools print on stdout is not wanted. Its buffer must not be a block of some child's. */
	static char buffer[4096];
	return freopen("/dev/null", "w", stdout) != NULL && setvbuf(stdout, buffer, _IOFBF, sizeof(buffer)) == 0;
}

/* ---- between inputs ---- */

static void remove_tree(int directory, const char *name)
{
	if (unlinkat(directory, name, 0) == 0 || errno != EISDIR)
		return;
	int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *entries = fd < 0 ? NULL : fdopendir(fd);
	for (const struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			remove_tree(dirfd(entries), entry->d_name);
	if (entries != NULL)
		closedir(entries);
	unlinkat(directory, name, AT_REMOVEDIR);
}

static void clear_scratch(void)
{
	DIR *entries = opendir(scratch);
	for (const struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;)
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, "proc") != 0 && strcmp(entry->d_name, "dev") != 0)
			remove_tree(dirfd(entries), entry->d_name);
	if (entries != NULL)
		closedir(entries);
}

void sandbox_write(const char *path, const void *bytes, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, bytes, length) != (ssize_t)length)
		_exit(0); /* the file system is full: nothing to be learned */
	close(fd);
}

/* An ELF file that has nothing but a build-id. */
static void make_program(void)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		Elf64_Nhdr note;
		char name[4];
		uint8_t id[20];
	} file = {
		.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
			   .e_phoff = sizeof(Elf64_Ehdr),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 1},
		.note = {.n_namesz = 4, .n_descsz = 20, .n_type = NT_GNU_BUILD_ID},
		.name = "GNU",
	};
	file.segment = (Elf64_Phdr){.p_type = PT_NOTE,
				    .p_offset = sizeof(file.header) + sizeof(file.segment),
				    .p_filesz = sizeof(file.note) + sizeof(file.name) + sizeof(file.id)};
	memset(file.id, SANDBOX_BUILD_ID, sizeof(file.id));
	sandbox_write("/program", &file, sizeof(file));
}

static void make_files(void)
{
	static const uint8_t bytes[SANDBOX_FILE_BYTES];
	make_program();
	sandbox_write("/file", bytes, sizeof(bytes));
	mkdir("/dir", 0700);
	sandbox_write("/dir/a", bytes, 4096);
	sandbox_write("/dir/b", bytes, 100);
	if (symlink("a", "/dir/link") < 0 || mkfifo("/dir/fifo", 0600) < 0)
		_exit(0);
	for (int i = 0; i < SANDBOX_FILES; i++) {
		struct stat status;
		inodes[i] = lstat(sandbox_files[i], &status) == 0 ? status.st_ino : 0;
	}
}

uint64_t sandbox_inode(uint64_t inode)
{
	return inode - SANDBOX_INODE < SANDBOX_FILES ? inodes[inode - SANDBOX_INODE] : inode;
}

/* The head of the runtime's memory (runtime/base/memory.c) after sandbox_keep(), and where free memory begins. */
static uint64_t kept_header[2];
static uint64_t kept;

void sandbox_keep(void (*make)(const char *path))
{
	char path[64];
	snprintf(path, sizeof(path), "%s/kept", scratch);
	make(path);
	memcpy(kept_header, (void *)RT_AREA_BASE, sizeof(kept_header));
	kept = kept_header[0];
	clear_scratch();
}

/* The runtime's memory and the plan of the last input; the child had them in common with us. */
static void clear_memory(void)
{
	uint64_t start = kept > 0 ? kept : RT_AREA_BASE;
	munmap((void *)start, RT_AREA_END - start);
	if (kept > 0)
		memcpy((void *)RT_AREA_BASE, kept_header, sizeof(kept_header));
	munmap((void *)RT_RESTORER_BASE, RT_RESTORER_END - RT_RESTORER_BASE);
}

/* ---- what the tools' variables were: all are in sections of these names (see fuzz.mk) ---- */

extern char __start_tool_data[] __attribute__((weak)), __stop_tool_data[] __attribute__((weak));
extern char __start_tool_bss[] __attribute__((weak)), __stop_tool_bss[] __attribute__((weak));

/* Past AddressSanitizer, which sees gaps between variables. */
static void copy_bytes(char *to, const char *from, size_t length)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

/* The first time they are kept, then set back. */
static void reset_variables(void)
{
	char *const starts[] = {__start_tool_data, __start_tool_bss};
	const size_t lengths[] = {(size_t)(__stop_tool_data - __start_tool_data),
				  (size_t)(__stop_tool_bss - __start_tool_bss)};
	static char *kept_variables[2];
	for (int i = 0; i < 2; i++) {
		if (lengths[i] == 0)
			continue;
		if (kept_variables[i] != NULL)
			copy_bytes(starts[i], kept_variables[i], lengths[i]);
		else if ((kept_variables[i] = malloc(lengths[i])) != NULL)
			copy_bytes(kept_variables[i], starts[i], lengths[i]);
	}
}

/* ---- blocks a child leaves behind ---- */

void __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void *, size_t),
					       void (*freed)(const volatile void *)) __attribute__((weak));

/* Refusals leave blocks behind on purpose. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0:handle_abort=0:allocator_may_return_null=1";
}

#define BLOCKS 65536
static const volatile void *blocks[BLOCKS];
static size_t block_count;
static volatile bool counting; /* in a child, while we stand still */

static void note_allocated(const volatile void *block, size_t size)
{
	(void)size;
	if (counting && block_count < BLOCKS)
		blocks[block_count++] = block;
}

static void note_freed(const volatile void *block)
{
	if (!counting)
		return;
	for (size_t i = block_count; i > 0; i--)
		if (blocks[i - 1] == block) {
			blocks[i - 1] = blocks[--block_count];
			return;
		}
}

static void free_blocks(void)
{
	static bool installed;
	counting = false;
	while (block_count > 0)
		free((void *)(uintptr_t)blocks[--block_count]);
	if (!installed && __sanitizer_install_malloc_and_free_hooks != NULL)
		__sanitizer_install_malloc_and_free_hooks(note_allocated, note_freed);
	installed = true;
}

/* ---- one input ---- */

void report(const char *format, ...)
{
	char text[8192];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (getenv("FUZZ_VERBOSE") != NULL)
		dprintf(STDERR_FILENO, "%s\n", text);
}

static jmp_buf after_refusal;
static bool part_runs;

bool sandbox_try(void (*part)(void))
{
	bool refused = setjmp(after_refusal) != 0;
	if (!refused) {
		part_runs = true;
		part();
	}
	part_runs = false;
	return !refused;
}

void refuse(const char *format, ...)
{
	char text[8192];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (getenv("FUZZ_VERBOSE") != NULL)
		dprintf(STDERR_FILENO, "refused: %s\n", text);
	if (part_runs)
		longjmp(after_refusal, 1);
	_exit(EXIT_TOOL_FAILED);
}

void parse_arguments(const struct argp *parser, int argc, char **argv, unsigned flags, void *input)
{
	if (argp_parse(parser, argc, argv, flags | ARGP_NO_ERRS, NULL, input) != 0)
		_exit(EXIT_TOOL_FAILED);
}

static int report_fd = STDERR_FILENO;

void sandbox_fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vdprintf(report_fd, format, arguments);
	va_end(arguments);
	_exit(EXIT_WRONG);
}

void __sanitizer_set_report_fd(void *fd) __attribute__((weak));

/* What the tools say is not wanted, what the sanitizers say is. */
static void move_stderr(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, DESCRIPTOR_LIMIT / 2);
	if (fd < 0 || getenv("FUZZ_VERBOSE") != NULL || __sanitizer_set_report_fd == NULL)
		return;
	__sanitizer_set_report_fd((void *)(uintptr_t)fd);
	report_fd = fd;
	dup2(STDOUT_FILENO, STDERR_FILENO);
}

/* In the child. */
__attribute__((noreturn, noinline)) static void try_input(void (*use)(uint8_t *input, size_t size),
							  const uint8_t *input, size_t size)
{
	struct rlimit limit = {DESCRIPTOR_LIMIT, DESCRIPTOR_LIMIT}, work = {WORK_S, WORK_S + 1};
	signal(SIGALRM, SIG_DFL);
	alarm(PATIENCE_S);
	setrlimit(RLIMIT_NOFILE, &limit);
	setrlimit(RLIMIT_CPU, &work);
	if (chroot(scratch) < 0 || chdir("/") < 0)
		_exit(0);
	umask(077);
	part_runs = false;
	move_stderr();
	make_files();
	counting = true;
	uint8_t *copy = malloc(size ? size : 1);
	if (copy == NULL)
		_exit(0);
	memcpy(copy, input, size);
	use(copy, size);
	_exit(0);
}

/* What vfork() returns into twice has nothing of AddressSanitizer's in its frame. */
__attribute__((no_sanitize("address", "undefined"))) void sandbox_run(void (*use)(uint8_t *input, size_t size),
								      const uint8_t *input, size_t size)
{
	int status;
	clear_scratch();
	reset_variables();
	pid_t child = vfork();
	if (child == 0)
		try_input(use, input, size);
	if (child < 0)
		return;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR) /* libFuzzer has a timer */
			abort();
	if (__sanitizer_set_report_fd != NULL)
		__sanitizer_set_report_fd((void *)(uintptr_t)STDERR_FILENO);
	report_fd = STDERR_FILENO;
	free_blocks();
	clear_memory();
	bool ended = WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == EXIT_TOOL_FAILED);
	if (!ended) {
		fprintf(stderr, "the input ended the process with status 0x%x%s\n", (unsigned)status,
			WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": a hang" : "");
		abort();
	}
}

int fuzz_need_sandbox(void)
{
	if (sandbox_open())
		return 0;
	fprintf(stderr, "skipped: no user and mount namespaces here\n");
	exit(77);
}
