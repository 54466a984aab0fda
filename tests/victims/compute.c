/* Threads that make no system call and take no lock: captured by signal only. Their integers and
 * floating point values live in registers; results are compared bit for bit. */
#include "victim.h"

#define THREADS 3

static long rounds;

static uint64_t bits_of(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* Eight integers and eight doubles that all depend on each other, for long. */
static void *worker(void *argument)
{
	uint64_t a = mix((uint64_t)(uintptr_t)argument), b = mix(a), c = mix(b), d = mix(c);
	double w = 0.3, x = 0.4, y = 0.5, z = 0.6;
	uint64_t *result = malloc(sizeof(*result));
	long i;

	for (i = 0; i < rounds; i++) {
		a = (a ^ (d >> 7)) * 0xbf58476d1ce4e5b9;
		b += a ^ (c << 9);
		c = (c >> 3 | c << 61) + b;
		d ^= c * 5 + (uint64_t)i;
		w = 3.9 * w * (1.0 - w);
		x = 3.8 * x * (1.0 - x) + 1e-9 * w;
		y = 3.7 * y * (1.0 - y) + 1e-9 * x;
		z = 3.6 * z * (1.0 - z) + 1e-9 * y;
	}
	*result = a ^ b ^ c ^ d ^ bits_of(w) ^ mix(bits_of(x)) ^ mix(bits_of(y) + 1) ^ mix(bits_of(z) + 2);
	return result;
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS];
	int i;

	rounds = victim_work(argc, argv, 53000000);
	for (i = 0; i < THREADS; i++)
		threads[i] = start_thread(worker, (void *)(intptr_t)(i + 1));
	for (i = 0; i < THREADS; i++) {
		uint64_t *result = join_thread(threads[i]);

		printf("compute %d: %016llx\n", i, (unsigned long long)*result);
		free(result);
	}
	return 0;
}
