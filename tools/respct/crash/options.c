/* The command line of respct crash; see crash.h. */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/children.h"
#include "common/report.h"
#include "crash.h"
#include "respct/commands.h"

#define DEFAULT_KILLS 10
#define MOST_KILLS 1000000
#define MOST_MS 3600000
#define MOST_SECONDS 1000000

enum {
	OPTION_MIN = 256,
	OPTION_MAX,
	OPTION_CLIENT,
	OPTION_SETUP,
	OPTION_SCRATCH,
	OPTION_INPUT,
	OPTION_TIMEOUT,
	OPTION_KEEP,
	OPTION_END,
	OPTION_STORE,
	OPTION_DURABILITY,
};

static const struct argp_option argp_options[] = {
	{NULL, 0, NULL, 0, "What is done to the program:", 1},
	{"kills", 'k', "N", 0, "Kill it N times in all, default 10", 1},
	{"mode", 'm', "MODE", 0,
	 "When: `random' (default), `commit': at chosen steps of a checkpoint, `all': these, and in the restore", 1},
	{"seed", 'S', "S", 0, "The same kills as in the session that printed S", 1},
	{"min-ms", OPTION_MIN, "MS", 0, "No kill sooner after a start, default 25", 1},
	{"max-ms", OPTION_MAX, "MS", 0,
	 "No kill later after a start than this; default: an even share of the undisturbed run, or 500", 1},
	{"interval", 'i', "MS", 0, "Time from one checkpoint to the next, default 64", 1},
	{"durability", OPTION_DURABILITY, "CLASS", 0, "What a commit survives, as in respct run", 1},
	{"verify", 'V', NULL, 0, "Compare memory with the store at every checkpoint; slow", 1},
	{NULL, 0, NULL, 0, "How it is judged:", 2},
	{"expect", 'e', "WHAT", 0,
	 "`same-output': run it undisturbed first; output and exit status must be the same. "
	 "`same-output=FILE': keep that result in FILE, and take it from there when it exists",
	 2},
	{"check", 'c', "CMD", 0,
	 "Run this shell command after each restore, with RESPCT_PID, RESPCT_STORE and RESPCT_KILL; it must end with 0",
	 2},
	{"client", OPTION_CLIENT, "CMD", 0,
	 "Run this shell command beside the program, from its start to its end; it must end with 0", 2},
	{"end", OPTION_END, "SIGNAL", 0,
	 "For servers: after the last check, and the client's end, end the program by this signal (TERM)", 2},
	{"timeout", OPTION_TIMEOUT, "S", 0, "A life or a check of more seconds hangs, default 120", 2},
	{NULL, 0, NULL, 0, "Where it runs, and what is left:", 3},
	{"scratch", OPTION_SCRATCH, NULL, 0, "Run it in an empty directory, a new one for each run, not in this one",
	 3},
	{"setup", OPTION_SETUP, "CMD", 0, "Run this shell command in its directory before each run", 3},
	{"input", OPTION_INPUT, "FILE", 0, "Its standard input, default /dev/null", 3},
	{"store", OPTION_STORE, "DIR", 0, "Keep the checkpoints in DIR, which is made, and removed at the end", 3},
	{"report", 'r', "FILE", 0, "Write JUnit XML to FILE", 3},
	{"keep", OPTION_KEEP, "DIR", 0, "After a failure, put log, output and store in a new directory in DIR", 3},
	{0},
};

/* A whole number in the range, or refuse(). */
static long number_of(const char *option, const char *text, long least, long most)
{
	char *end;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < least || value > most)
		refuse("--%s=%s: a number from %ld to %ld is wanted", option, text, least, most);
	return value;
}

static uint64_t seed_of(const char *text)
{
	char *end;
	errno = 0;
	uint64_t value = strtoull(text, &end, 0);
	if (errno != 0 || end == text || *end != '\0' || text[0] == '-')
		refuse("--seed=%s: a number is wanted", text);
	return value;
}

static enum crash_mode mode_of(const char *text)
{
	static const char *const names[] = {[MODE_RANDOM] = "random", [MODE_COMMIT] = "commit", [MODE_ALL] = "all"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
			return (enum crash_mode)i;
	refuse("--mode=%s: random, commit or all is wanted", text);
}

/* Of "TERM", "SIGTERM" or "15". */
static int signal_of(const char *text)
{
	const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
	for (int number = 1; number < NSIG; number++) {
		const char *abbreviation = sigabbrev_np(number);
		if (abbreviation != NULL && strcmp(abbreviation, name) == 0 && number != SIGKILL && number != SIGSTOP)
			return number;
	}
	return (int)number_of("end", text, 1, NSIG - 1);
}

static void take_expectation(struct crash_options *options, const char *text)
{
	static const char name[] = "same-output";
	size_t length = sizeof(name) - 1;
	if (strncmp(text, name, length) != 0 || (text[length] != '\0' && text[length] != '='))
		refuse("--expect=%s: same-output or same-output=FILE is wanted", text);
	options->same_output = true;
	if (text[length] == '=')
		options->expected = text + length + 1;
}

/* The options that are only kept. True when it was one. */
static bool take_text(struct crash_options *options, int key, char *argument)
{
	const struct {
		int key;
		const char **place;
	} texts[] = {
		{'i', &options->interval},
		{'c', &options->check},
		{'r', &options->report},
		{OPTION_CLIENT, &options->client},
		{OPTION_SETUP, &options->setup},
		{OPTION_INPUT, &options->input},
		{OPTION_KEEP, &options->keep},
		{OPTION_STORE, &options->store},
		{OPTION_DURABILITY, &options->durability},
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i].key == key) {
			*texts[i].place = argument;
			return true;
		}
	}
	return false;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct crash_options *options = state->input;
	switch (key) {
	case 'k': options->kills = (unsigned)number_of("kills", argument, 1, MOST_KILLS); return 0;
	case 'm': options->mode = mode_of(argument); return 0;
	case 'S': options->seed = seed_of(argument); return 0;
	case 'V': options->verify = true; return 0;
	case 'e': take_expectation(options, argument); return 0;
	case OPTION_MIN: options->minimum_ms = (int)number_of("min-ms", argument, 1, MOST_MS); return 0;
	case OPTION_MAX: options->maximum_ms = (int)number_of("max-ms", argument, 1, MOST_MS); return 0;
	case OPTION_TIMEOUT: options->timeout_s = (int)number_of("timeout", argument, 1, MOST_SECONDS); return 0;
	case OPTION_END: options->end_signal = signal_of(argument); return 0;
	case OPTION_SCRATCH: options->scratch = true; return 0;
	case ARGP_KEY_ARG:
		/* The rest is the program's. */
		options->program = state->argv + state->next - 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS: refuse("which program? (try --help)");
	default: return take_text(options, key, argument) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const struct argp parser = {
	.options = argp_options,
	.parser = parse_option,
	.args_doc = "[--] PROGRAM [ARGUMENT...]",
	.doc = "Run PROGRAM under respct, kill it again and again, restore it each time, and say whether it could "
	       "tell. "
	       "TAP goes to standard output."
	       "\vExit status: 0: every kill was survived; 1: not; 77: the program cannot run here (it says 77 "
	       "undisturbed); 125: wrong options, or nothing can be run.",
};

static void check_combinations(const struct crash_options *options)
{
	if (options->maximum_ms > 0 && options->maximum_ms < options->minimum_ms)
		refuse("--max-ms=%d is less than --min-ms=%d", options->maximum_ms, options->minimum_ms);
	if (options->same_output && options->end_signal != 0 && options->client == NULL)
		refuse("--end and --expect=same-output together need a --client that says when the undisturbed run is "
		       "over");
	if (options->interval != NULL)
		number_of("interval", options->interval, 1, MOST_MS);
	if (options->durability != NULL && strcmp(options->durability, "process") != 0 &&
	    strcmp(options->durability, "power") != 0)
		refuse("--durability=%s: process or power is wanted", options->durability);
	if (options->input != NULL && access(options->input, R_OK) < 0)
		refuse("--input=%s: %s", options->input, strerror(errno));
}

/* Says at once what is missing. In a scratch directory a relative name would mean something else. */
static void check_executable(struct crash_options *options)
{
	char path[PATH_MAX], whole[PATH_MAX];
	const char *problem;
	if (find_program(options->program[0], path, &problem) != 0)
		refuse("%s: %s", options->program[0], problem);
	check_program(path);
	if (!options->scratch || options->program[0][0] == '/' || strchr(options->program[0], '/') == NULL)
		return;
	if (getcwd(whole, sizeof(whole)) == NULL)
		refuse("the current directory: %s", strerror(errno));
	options->program[0] = format_text("%s/%s", whole, options->program[0]);
}

void crash_parse_options(struct crash_options *options, int argc, char **argv)
{
	uint32_t seed;
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
		seed = (uint32_t)now_ns();
	*options = (struct crash_options){.kills = DEFAULT_KILLS, .minimum_ms = 25, .seed = seed};
	options->arguments = argv;
	options->argument_count = argc;
	parse_arguments(&parser, argc, argv, ARGP_IN_ORDER, options);
	check_combinations(options);
	check_executable(options);
}

/* ---- the command line that does it again ---- */

static void print_quoted(FILE *file, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
	if (word[0] != '\0' && strspn(word, plain) == strlen(word)) {
		fprintf(file, " %s", word);
		return;
	}
	fputs(" '", file);
	for (; *word != '\0'; word++) {
		if (*word == '\'')
			fputs("'\\''", file);
		else
			fputc(*word, file);
	}
	fputc('\'', file);
}

/* The first option of each kind would be overridden by those given: ours go behind them, before the program. */
char *crash_command_line(const struct crash *crash)
{
	const struct crash_options *options = &crash->options;
	char *text = NULL;
	size_t length;
	int program = 0;
	FILE *file = open_memstream(&text, &length);
	if (file == NULL)
		refuse("out of memory");
	while (options->arguments + program != options->program)
		program++;
	fputs("respct crash", file);
	for (int i = 1; i < program; i++)
		if (strcmp(options->arguments[i], "--") != 0)
			print_quoted(file, options->arguments[i]);
	fprintf(file, " --seed %lu --min-ms %d --max-ms %d --", (unsigned long)options->seed, options->minimum_ms,
		options->maximum_ms);
	for (int i = program; i < options->argument_count; i++)
		print_quoted(file, options->arguments[i]);
	fclose(file);
	return text;
}
