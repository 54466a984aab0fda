/*
 * xxHash, compiled for any x86-64 here and for AVX2 in hash_avx2.c: pages are hashed on the hot
 * path, and twice the vector width takes half the time.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "internal.h"

uint64_t rt_store_hash(const void *bytes, size_t length)
{
	return XXH3_64bits(bytes, length);
}

uint64_t rt_store_hash_piece(const void *piece, size_t length, uint64_t so_far)
{
	return XXH3_64bits_withSeed(piece, length, so_far);
}

uint64_t rt_store_hash_page(const void *page)
{
#ifdef __x86_64__
	/* Reads a variable that libgcc has set before main(); no call, no CPUID. */
	if (__builtin_cpu_supports("avx2"))
		return rt_store_hash_page_avx2(page);
#endif
	return XXH3_64bits(page, STORE_PAGE_SIZE);
}
