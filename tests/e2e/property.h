/*
 * The model of memory that property.c keeps and property_check.c compares a store with: a file of
 * these records, one per page the model knows.
 */
#ifndef PROPERTY_H
#define PROPERTY_H

#include <stddef.h>
#include <stdint.h>

#define PROPERTY_PAGE 4096UL
#define PROPERTY_WORDS (PROPERTY_PAGE / sizeof(uint64_t))

enum property_kind {
	PROPERTY_ANONYMOUS = 1, /* contents of `version`; a page that is not stored must be version 0 */
	PROPERTY_FILE = 2,      /* the same; a page that is not stored has the file's version */
	PROPERTY_UNMAPPED = 3,  /* must not be stored */
};

struct property_page {
	uint64_t address;
	uint32_t kind;         /* enum property_kind */
	uint32_t version;      /* contents, see property_word(); 0: zeros */
	uint32_t file_version; /* contents of the file there, PROPERTY_FILE only */
	uint32_t pad;
};

/* The contents of a page: word `index` of its version. */
static inline uint64_t property_word(uint32_t version, size_t index)
{
	uint64_t z = ((uint64_t)version << 16 | index) + 0x9e3779b97f4a7c15;

	if (version == 0)
		return 0;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static inline void property_fill(void *page, uint32_t version)
{
	uint64_t *words = page;
	size_t i;

	for (i = 0; i < PROPERTY_WORDS; i++)
		words[i] = property_word(version, i);
}

/* True when all of the page is as the version says. */
static inline int property_matches(const void *page, uint32_t version)
{
	const uint64_t *words = page;
	size_t i;

	for (i = 0; i < PROPERTY_WORDS; i++)
		if (words[i] != property_word(version, i))
			return 0;
	return 1;
}

#endif
