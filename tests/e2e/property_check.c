/*
 * Compares a store with a model: property_check STORE MODEL. Run by property.c while it waits, so
 * memory and the committed checkpoint are at rest. Exit status 0 when they are the same; otherwise
 * the pages that differ, on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "property.h"
#include "runtime/store/store.h"

static const char *const kind_names[] = {"?", "anonymous", "file", "unmapped"};

static struct property_page *read_model(const char *path, size_t *count)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct property_page *pages;
	struct stat status;

	if (fd < 0 || fstat(fd, &status)) {
		perror(path);
		exit(2);
	}
	pages = malloc((size_t)status.st_size);
	if (!pages || read(fd, pages, (size_t)status.st_size) != status.st_size) {
		perror(path);
		exit(2);
	}
	close(fd);
	*count = (size_t)status.st_size / sizeof(*pages);
	return pages;
}

/* The version of the contents that are restored for a page that is not in the store. */
static uint32_t version_without_store(const struct property_page *page)
{
	return page->kind == PROPERTY_FILE ? page->file_version : 0;
}

static int check_page(struct store *store, const struct property_page *page)
{
	const void *stored = rt_store_page(store, page->address);
	const char *problem = NULL;

	if (page->kind == PROPERTY_UNMAPPED)
		problem = stored ? "is still stored" : NULL;
	else if (stored)
		problem = property_matches(stored, page->version) ? NULL : "has other contents in the store";
	else if (page->version != version_without_store(page))
		problem = "is missing in the store";
	if (!problem)
		return 0;
	fprintf(stderr, "page %#llx (%s, version %u, file's %u): %s\n", (unsigned long long)page->address,
		kind_names[page->kind], page->version, page->file_version, problem);
	return 1;
}

int main(int count, char **arguments)
{
	struct property_page *pages;
	size_t page_count, i;
	int error, holder, differing = 0;
	struct store *store;

	if (count != 3) {
		fprintf(stderr, "usage: property_check STORE MODEL\n");
		return 2;
	}
	pages = read_model(arguments[2], &page_count);
	error = rt_store_open(arguments[1], false, 10, &store, &holder);
	if (error) {
		fprintf(stderr, "%s: %s: %s\n", arguments[1], strerror(-error), rt_store_problem());
		return 2;
	}
	for (i = 0; i < page_count && differing < 20; i++)
		differing += check_page(store, &pages[i]);
	rt_store_close(store);
	return differing ? 1 : 0;
}
