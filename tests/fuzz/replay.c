/*
 * Tries inputs without a fuzzer: TARGET FILE|DIRECTORY... Ends with 0 when all were survived, with 77 when
 * the target cannot run here, else by the signal of the first that was not, after its name.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

#define INPUT_LIMIT (16UL << 20)

static char (*names)[512];
static size_t name_count;

static void add_name(const char *name)
{
	names = realloc(names, (name_count + 1) * sizeof(*names));
	if (names == NULL)
		exit(1);
	snprintf(names[name_count++], sizeof(*names), "%s", name);
}

/* All names are gathered first, and files read before they are tried: the sandbox changes what is where. */
static void add_all(const char *path)
{
	DIR *directory = opendir(path);
	char name[512];
	if (directory == NULL) {
		add_name(path);
		return;
	}
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (entry->d_name[0] != '.')
			add_name(name);
	}
	closedir(directory);
}

static void try_file(const char *name)
{
	static uint8_t bytes[INPUT_LIMIT];
	FILE *file = fopen(name, "re");
	if (file == NULL) {
		fprintf(stderr, "%s: cannot be read\n", name);
		exit(1);
	}
	size_t length = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	fprintf(stderr, "%s\n", name);
	LLVMFuzzerTestOneInput(bytes, length);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		add_all(argv[i]);
	LLVMFuzzerInitialize(&argc, &argv);
	for (size_t i = 0; i < name_count; i++)
		try_file(names[i]);
	fprintf(stderr, "ok (%zu inputs)\n", name_count);
	return name_count > 0 ? 0 : 1;
}
