/*
 * The hash of a page with AVX2; called only where the processor has it. Same values as hash.c.
 */
#ifdef __x86_64__
#ifdef __clang__
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#include <immintrin.h>
#endif

#define XXH_INLINE_ALL
#define XXH_VECTOR 2 /* XXH_AVX2 */
#include <xxhash.h>

#include "internal.h"

uint64_t rt_store_hash_page_avx2(const void *page)
{
	return XXH3_64bits(page, STORE_PAGE_SIZE);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
