/*
 * Pages with known contents. A page's contents follow from its version: version 0 is all zero
 * bytes, any other fills a few words with hashes of the version. Used to keep a model of memory:
 * one version per page.
 */
#ifndef MEMORY_MODEL_H
#define MEMORY_MODEL_H

#include "victim.h"

#define MODEL_WORDS 4 /* words of a page that are written and checked */

static inline size_t model_offset(int word)
{
	static const size_t offsets[MODEL_WORDS] = {0, 1048, 2056, PAGE - 8};

	return offsets[word];
}

static inline uint64_t model_word(uint32_t version, int word)
{
	return version ? mix((uint64_t)version << 8 | (uint64_t)word) : 0;
}

static inline void model_write(unsigned char *page, uint32_t version)
{
	int word;

	for (word = 0; word < MODEL_WORDS; word++)
		*(uint64_t *)(page + model_offset(word)) = model_word(version, word);
}

static inline void model_check(const unsigned char *page, uint32_t version)
{
	char text[96];
	int word;

	for (word = 0; word < MODEL_WORDS; word++) {
		uint64_t got = *(const volatile uint64_t *)(page + model_offset(word));

		if (got == model_word(version, word))
			continue;
		snprintf(text, sizeof(text), " (page %p word %d: %016llx, version %u)", (const void *)page, word,
			 (unsigned long long)got, version);
		victim_failed(__FILE__, __LINE__, "page contents", text);
	}
}

#endif
