/* Libraries loaded and unloaded while the program runs: their code, data and thread-local storage
 * come and go between checkpoints. */
#include <dlfcn.h>

#include "victim.h"

static const char *const libraries[] = {"libm.so.6",     "libcrypt.so.1",  "libz.so.1",        "libstdc++.so.6",
					"libgcc_s.so.1", "libresolv.so.2", "libnss_files.so.2"};
#define LIBRARIES (sizeof(libraries) / sizeof(libraries[0]))

static void *handles[LIBRARIES];

/* What is not installed is left out, in both runs alike. */
static void toggle(size_t library)
{
	if (handles[library]) {
		CHECK_EQUAL(dlclose(handles[library]), 0);
		handles[library] = NULL;
	} else {
		handles[library] = dlopen(libraries[library], RTLD_NOW);
	}
}

static double cosine(double x)
{
	double (*function)(double) = (double (*)(double))dlsym(handles[0], "cos");

	CHECK(function);
	return function(x);
}

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 7100), i;
	uint64_t state = 1;
	double sum = 0;

	for (i = 0; i < rounds; i++) {
		toggle(next_random(&state) % LIBRARIES);
		if (handles[0])
			sum += cosine((double)i);
		spin(1, 20000);
	}
	printf("dlopen: %a\n", sum);
	return 0;
}
