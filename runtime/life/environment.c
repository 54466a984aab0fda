/* The environment across exec; see environment.h. No allocation by libc: exec may be called in a signal handler. */
#include "environment.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "threads/thread.h"

#define PREFIX "RESPCT_"
#define PRELOAD "LD_PRELOAD="
#define OWNER RT_PROTECTED_VARIABLE "="
#define MAX_KEPT 16

static char *kept[MAX_KEPT + 1]; /* "RESPCT_NAME=value" */
static int kept_count;
static const char *library; /* the path this library was loaded from; NULL: unknown */

/* In front of the copy, so that it can be given back. */
struct block {
	size_t size;
	char *entries[];
};

/* A relative path leads elsewhere once the program has changed its directory. */
static void make_library_absolute(const char *loaded)
{
	const char *preload = getenv("LD_PRELOAD"), *at = preload != NULL ? strstr(preload, loaded) : NULL;
	char *path = loaded[0] != '/' && strchr(loaded, '/') != NULL ? realpath(loaded, NULL) : NULL, *text;
	library = path != NULL ? path : loaded;
	if (path == NULL || at == NULL)
		return;
	if (asprintf(&text, "%.*s%s%s", (int)(at - preload), preload, path, at + strlen(loaded)) > 0) {
		setenv("LD_PRELOAD", text, 1);
		free(text);
	}
}

void rt_environment_keep(void)
{
	Dl_info info;
	for (char **entry = environ; *entry != NULL && kept_count < MAX_KEPT; entry++)
		if (strncmp(*entry, PREFIX, strlen(PREFIX)) == 0 && (kept[kept_count] = strdup(*entry)) != NULL)
			kept_count++;
	if (dladdr(&kept_count, &info) != 0)
		make_library_absolute(info.dli_fname);
}

void rt_environment_set(const char *name, const char *value)
{
	char *entry;
	int i = 0;
	setenv(name, value, 1);
	if (asprintf(&entry, "%s=%s", name, value) < 0)
		return;
	while (i < kept_count && strncmp(kept[i], entry, strlen(name) + 1) != 0)
		i++;
	if (i < MAX_KEPT)
		kept[i] = entry;
	if (i == kept_count && i < MAX_KEPT)
		kept_count++;
}

/* The entry of the same name as "NAME=..."; NULL: none. */
static const char *find(char *const *environment, const char *entry)
{
	size_t length = strcspn(entry, "=") + 1;
	for (; environment != NULL && *environment != NULL; environment++)
		if (strncmp(*environment, entry, length) == 0)
			return *environment;
	return NULL;
}

/* Under whatever path: the loader takes a library once. */
static int preloads_us(const char *entry)
{
	const char *name = strrchr(library, '/');
	return entry != NULL && strstr(entry, name != NULL ? name + 1 : library) != NULL;
}

/* What it says of another process is not wanted. */
static int is_outdated(const char *entry)
{
	const char *ours = strncmp(entry, OWNER, strlen(OWNER)) == 0 ? find(kept, OWNER) : NULL;
	return ours != NULL && strcmp(entry, ours) != 0;
}

static int is_there(char *const *environment, const char *wanted)
{
	const char *entry = find(environment, wanted);
	return entry != NULL && !is_outdated(entry);
}

static int is_complete(char *const *environment)
{
	for (int i = 0; i < kept_count; i++)
		if (!is_there(environment, kept[i]))
			return 0;
	return preloads_us(find(environment, PRELOAD));
}

/* This library before those that are preloaded anyway. */
static void write_preload(char *text, const char *old)
{
	char *end = stpcpy(stpcpy(text, PRELOAD), library);
	if (old != NULL && old[strlen(PRELOAD)] != '\0')
		stpcpy(stpcpy(end, ":"), old + strlen(PRELOAD));
}

static void fill(char **entries, char *text, char *const *given)
{
	const char *preload = find(given, PRELOAD);
	for (char *const *entry = given; entry != NULL && *entry != NULL; entry++)
		if ((*entry != preload || preloads_us(preload)) && !is_outdated(*entry))
			*entries++ = *entry;
	for (int i = 0; i < kept_count; i++)
		if (!is_there(given, kept[i]))
			*entries++ = kept[i];
	if (!preloads_us(preload)) {
		write_preload(text, preload);
		*entries++ = text;
	}
	*entries = NULL;
}

char *const *rt_environment_complete(char *const *given)
{
	if (!rt_can_be_stopped() || library == NULL || is_complete(given))
		return given;
	const char *preload = find(given, PRELOAD);
	size_t count = MAX_KEPT + 2;
	size_t text = sizeof(PRELOAD) + strlen(library) + 1 + (preload != NULL ? strlen(preload) : 0);
	for (char *const *entry = given; entry != NULL && *entry != NULL; entry++)
		count++;
	size_t size = sizeof(struct block) + count * sizeof(char *) + text;
	struct block *block = rt_memory_map(size);
	if (block == NULL)
		return given;
	block->size = size;
	fill(block->entries, (char *)(block->entries + count), given);
	return block->entries;
}

void rt_environment_free(char *const *given, char *const *complete)
{
	if (complete == given)
		return;
	struct block *block = (struct block *)((char *)complete - offsetof(struct block, entries));
	rt_memory_unmap(block, block->size);
}
