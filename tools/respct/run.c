/* respct run: execs PROGRAM with the library preloaded. */
#include <argp.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "common/report.h"

#define MAX_INTERPRETERS 5 /* scripts that name scripts; the kernel's limit */

struct options {
	const char *store, *interval, *durability;
	bool fresh, quiet, verify;
	char **program;
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct options *options = state->input;
	switch (key) {
	case 's': options->store = argument; return 0;
	case 'i': options->interval = argument; return 0;
	case 'd': options->durability = argument; return 0;
	case 'f': options->fresh = true; return 0;
	case 'q': options->quiet = true; return 0;
	case 'V': options->verify = true; return 0;
	case ARGP_KEY_ARG:
		/* The rest is the program's. */
		options->program = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS: refuse("which program? (try --help)");
	default: return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option argp_options[] = {
	{"store", 's', "DIR", 0, "Keep the checkpoints in DIR, made if missing (RESPCT_STORE)", 0},
	{"interval", 'i', "MS", 0,
	 "Time from one checkpoint to the next, milliseconds, default 64 (RESPCT_INTERVAL_MS)", 0},
	{"durability", 'd', "CLASS", 0, "What a commit survives: `process' (default) or `power' (RESPCT_DURABILITY)",
	 0},
	{"fresh", 'f', NULL, 0, "Overwrite a store that holds a crashed run (RESPCT_FRESH=1)", 0},
	{"quiet", 'q', NULL, 0, "Do not say where the checkpoints go (RESPCT_QUIET=1)", 0},
	{"verify", 'V', NULL, 0, "Compare memory with the store at every checkpoint; slow (RESPCT_VERIFY=1)", 0},
	{0},
};

static const struct argp parser = {
	.options = argp_options,
	.parser = parse_option,
	.args_doc = "[--] PROGRAM [ARGUMENT...]",
	.doc = "Run PROGRAM in this process, captured many times a second into a store. After a crash, "
	       "`respct-restore DIR' brings it back."
	       "\vExit status: the program's; 125: respct failed; 126: PROGRAM cannot be executed; 127: it was not "
	       "found.",
};

/* The library beside the command, as built, or in ../lib/respct, as installed. */
static void find_library(char *path)
{
	char self[PATH_MAX - 64];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		refuse("/proc/self/exe: %s", strerror(errno));
	self[length] = '\0';
	*strrchr(self, '/') = '\0';
	const char *const places[] = {"%s/librespct.so", "%s/../lib/respct/librespct.so"};
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		char candidate[PATH_MAX];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(candidate, sizeof(candidate), places[i], self);
#pragma GCC diagnostic pop
		if (realpath(candidate, path) != NULL)
			return;
	}
	refuse("librespct.so is neither in %s nor in %s/../lib/respct", self, self);
}

int find_program(const char *name, char *path, const char **problem)
{
	const char *search = getenv("PATH");
	bool found_unusable = false;
	struct stat status;
	if (strchr(name, '/') != NULL) {
		snprintf(path, PATH_MAX, "%s", name);
		if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
			errno = EISDIR;
		else if (access(path, X_OK) == 0)
			return 0;
		*problem = strerror(errno);
		return errno == ENOENT || errno == ENOTDIR ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
	}
	char *copy = strdup(search ? search : "/usr/local/bin:/usr/bin:/bin"), *rest = copy;
	for (char *directory; (directory = strsep(&rest, ":")) != NULL;) {
		snprintf(path, PATH_MAX, "%s/%s", directory[0] ? directory : ".", name);
		if (stat(path, &status) < 0 || !S_ISREG(status.st_mode))
			continue;
		if (access(path, X_OK) == 0) {
			free(copy);
			return 0;
		}
		found_unusable = true;
	}
	free(copy);
	*problem = found_unusable ? "permission denied" : "command not found";
	return found_unusable ? EXIT_NOT_EXECUTABLE : EXIT_NOT_FOUND;
}

static bool has_interpreter(int fd, const Elf64_Ehdr *header)
{
	for (int i = 0; i < header->e_phnum; i++) {
		Elf64_Phdr segment;
		off_t offset = (off_t)(header->e_phoff + (uint64_t)i * header->e_phentsize);
		if (pread(fd, &segment, sizeof(segment), offset) != (ssize_t)sizeof(segment))
			return false;
		if (segment.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* The interpreter of a script; false when the file is none. */
static bool script_interpreter(int fd, char *path)
{
	char line[PATH_MAX] = "";
	ssize_t length = pread(fd, line, sizeof(line) - 1, 0);
	if (length < 3 || line[0] != '#' || line[1] != '!')
		return false;
	char *start = line + 2 + strspn(line + 2, " \t");
	start[strcspn(start, " \t\r\n")] = '\0';
	snprintf(path, PATH_MAX, "%s", start);
	return path[0] != '\0';
}

static void refuse_privileged(const char *path, int fd)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		refuse("%s: %s", path, strerror(errno));
	bool setuid = (status.st_mode & S_ISUID) && status.st_uid != geteuid();
	bool setgid = (status.st_mode & S_ISGID) && (status.st_mode & S_IXGRP) && status.st_gid != getegid();
	if ((status.st_mode & S_ISUID) || setuid || setgid)
		refuse("%s: is setuid or setgid: the loader ignores preloaded libraries there", path);
}

void check_program(const char *program)
{
	char path[PATH_MAX];
	Elf64_Ehdr header;
	snprintf(path, sizeof(path), "%s", program);
	for (int depth = 0; depth < MAX_INTERPRETERS; depth++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return; /* executable but not readable: the kernel decides */
		char interpreter[PATH_MAX];
		bool script = script_interpreter(fd, interpreter);
		if (!script) {
			refuse_privileged(path, fd);
			if (pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
			    memcmp(header.e_ident, ELFMAG, SELFMAG) == 0) {
				if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
					refuse("%s: not an x86-64 program", path);
				if (!has_interpreter(fd, &header))
					refuse("%s: is statically linked: no library can be preloaded into it", path);
			}
		}
		close(fd);
		if (!script)
			return;
		snprintf(path, sizeof(path), "%s", interpreter);
	}
}

static void preload(const char *library)
{
	const char *others = getenv("LD_PRELOAD");
	char *both = NULL;
	if (others != NULL && others[0] != '\0' && asprintf(&both, "%s:%s", library, others) < 0)
		refuse("out of memory");
	if (setenv("LD_PRELOAD", both ? both : library, 1) < 0)
		refuse("out of memory");
	free(both);
}

static void choose_store(const struct options *options)
{
	char path[PATH_MAX + 320], base[PATH_MAX];
	const char *store = options->store ? options->store : getenv("RESPCT_STORE");
	if (store == NULL || store[0] == '\0') {
		const char *name = strrchr(options->program[0], '/');
		default_base(base);
		snprintf(path, sizeof(path), "%s/%.255s.%d", base, name ? name + 1 : options->program[0], getpid());
		store = path;
	}
	setenv("RESPCT_STORE", store, 1);
}

static void set_environment(const struct options *options)
{
	if (options->interval != NULL)
		setenv("RESPCT_INTERVAL_MS", options->interval, 1);
	if (options->durability != NULL)
		setenv("RESPCT_DURABILITY", options->durability, 1);
	if (options->fresh)
		setenv("RESPCT_FRESH", "1", 1);
	if (options->quiet)
		setenv("RESPCT_QUIET", "1", 1);
	if (options->verify)
		setenv("RESPCT_VERIFY", "1", 1);
	/* A run of its own, also when started by a protected program. */
	unsetenv("RESPCT_PROTECTED");
}

int command_run(int argc, char **argv)
{
	struct options options = {0};
	char library[PATH_MAX], program[PATH_MAX];
	parse_arguments(&parser, argc, argv, ARGP_IN_ORDER, &options);
	const char *problem;
	int missing = find_program(options.program[0], program, &problem);
	if (missing != 0) {
		report("%s: %s", options.program[0], problem);
		return missing;
	}
	check_program(program);
	find_library(library);
	choose_store(&options);
	set_environment(&options);
	preload(library);
	execv(program, options.program);
	if (errno == ENOEXEC) {
		/* A script without "#!": as a shell would. */
		size_t count = 0;
		while (options.program[count] != NULL)
			count++;
		char *arguments[count + 2];
		arguments[0] = "/bin/sh";
		arguments[1] = program;
		memcpy(arguments + 2, options.program + 1, count * sizeof(char *));
		execv(arguments[0], arguments);
	}
	report("%s: %s", program, strerror(errno));
	return errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}
