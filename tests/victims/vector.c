/* SSE, AVX2 and AVX-512 state live in registers for long stretches without any call: a straggler's
 * whole vector state must be captured and restored, upper halves and mask registers included. */
#include <immintrin.h>

#include "victim.h"

static long rounds;

static void print_hash(const char *name, const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;
	uint64_t hash = 1;
	size_t i;

	for (i = 0; i < length; i++)
		hash = mix(hash ^ byte[i]);
	printf("vector %s: %016llx\n", name, (unsigned long long)hash);
}

static void *run_sse(void *argument)
{
	__m128i a = _mm_set_epi64x(1, 2), b = _mm_set_epi64x(3, 4), c = _mm_set_epi64x(5, 6);
	__m128d x = _mm_set_pd(0.3, 0.4), y = _mm_set_pd(0.5, 0.6);
	static struct {
		__m128i integers[3];
		__m128d reals[2];
	} result;
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		a = _mm_add_epi64(a, _mm_xor_si128(b, _mm_slli_epi64(c, 7)));
		b = _mm_shuffle_epi32(_mm_add_epi32(b, a), 0x39);
		c = _mm_xor_si128(c, _mm_srli_epi64(a, 11));
		x = _mm_mul_pd(_mm_mul_pd(_mm_set1_pd(3.9), x), _mm_sub_pd(_mm_set1_pd(1.0), x));
		y = _mm_div_pd(_mm_add_pd(y, x), _mm_set1_pd(1.75));
	}
	result.integers[0] = a;
	result.integers[1] = b;
	result.integers[2] = c;
	result.reals[0] = x;
	result.reals[1] = y;
	print_hash("sse", &result, sizeof(result));
	return NULL;
}

/* Twelve accumulators and constants fill the sixteen registers, so nothing is in memory. */
__attribute__((target("avx2,fma"))) static void *run_avx2(void *argument)
{
	static __m256i integers[6];
	static __m256d reals[4];
	__m256i a = _mm256_set_epi64x(1, 2, 3, 4), b = _mm256_set_epi64x(5, 6, 7, 8), c = _mm256_set1_epi64x(9);
	__m256i d = _mm256_set1_epi64x(10), e = _mm256_set1_epi64x(11), f = _mm256_set1_epi64x(12);
	__m256d w = _mm256_set_pd(0.1, 0.2, 0.3, 0.4), x = _mm256_set_pd(0.5, 0.6, 0.7, 0.8), y = w, z = x;
	const __m256d factor = _mm256_set1_pd(3.9), one = _mm256_set1_pd(1.0);
	long i;

	(void)argument;
	for (i = 0; i < rounds; i++) {
		a = _mm256_add_epi64(a, _mm256_xor_si256(b, _mm256_slli_epi64(c, 7)));
		b = _mm256_permute4x64_epi64(_mm256_add_epi32(b, d), 0x93);
		c = _mm256_xor_si256(c, _mm256_srli_epi64(e, 5));
		d = _mm256_sub_epi64(d, _mm256_mul_epu32(f, a));
		e = _mm256_shuffle_epi8(_mm256_add_epi64(e, c), _mm256_set1_epi64x(0x0001020304050607));
		f = _mm256_add_epi64(f, _mm256_srli_epi64(d, 13));
		w = _mm256_mul_pd(_mm256_mul_pd(factor, w), _mm256_sub_pd(one, w));
		x = _mm256_fmadd_pd(x, _mm256_set1_pd(0.5), w);
		y = _mm256_fnmadd_pd(y, _mm256_set1_pd(0.25), x);
		z = _mm256_add_pd(_mm256_mul_pd(z, _mm256_set1_pd(0.125)), y);
	}
	integers[0] = a, integers[1] = b, integers[2] = c, integers[3] = d, integers[4] = e, integers[5] = f;
	reals[0] = w, reals[1] = x, reals[2] = y, reals[3] = z;
	print_hash("avx2 integers", integers, sizeof(integers));
	print_hash("avx2 reals", reals, sizeof(reals));
	return NULL;
}

/* Registers above 15 and mask registers, which only AVX-512 has, carry values over the rounds. */
__attribute__((target("avx512f"))) static void *run_avx512(void *argument)
{
	static __m512i cells[20];
	__m512i v[20];
	__mmask8 mask = 0x5a;
	long i;
	int j;

	(void)argument;
	for (j = 0; j < 20; j++)
		v[j] = _mm512_set_epi64(j, j + 1, j * 3, j * 5 + 2, 7, 8, 9, j * j);
	for (i = 0; i < rounds / 2; i++) {
#pragma GCC unroll 20
		for (j = 0; j < 20; j++)
			v[j] = _mm512_mask_add_epi64(_mm512_rol_epi64(v[j], 13), mask, v[j], v[(j + 7) % 20]);
		mask = _mm512_cmplt_epu64_mask(v[3], v[11]);
	}
	for (j = 0; j < 20; j++)
		cells[j] = v[j];
	print_hash("avx512", cells, sizeof(cells));
	printf("vector avx512 mask: %02x\n", (unsigned)mask);
	return NULL;
}

/* One after the other, so that the order of the lines is always the same. */
static void run_kind(void *(*function)(void *))
{
	join_thread(start_thread(function, NULL));
}

int main(int argc, char **argv)
{
	rounds = victim_work(argc, argv, 56000000);
	__builtin_cpu_init();
	run_kind(run_sse);
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		run_kind(run_avx2);
	if (__builtin_cpu_supports("avx512f"))
		run_kind(run_avx512);
	return 0;
}
