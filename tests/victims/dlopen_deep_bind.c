/*
 * A library loaded with RTLD_DEEPBIND, by its name alone through the program's own search path: it allocates and frees with
 * the allocator that the program uses.
 */
#include <dlfcn.h>

#include "victim.h"

typedef char *join_function(char *first, const char *second);

int main(int argc, char **argv)
{
	long rounds = victim_work(argc, argv, 25000), round;
	uint64_t sum = 0;

	for (round = 0; round < rounds; round++) {
		void *handle = dlopen("deep_bind.so", RTLD_NOW | RTLD_GLOBAL | RTLD_DEEPBIND);
		join_function *join = handle ? (join_function *)dlsym(handle, "deep_bind_join") : NULL;
		char *text = strdup("text"), number[32];
		int i;

		CHECK(join);
		for (i = 0; i < 20; i++) {
			snprintf(number, sizeof(number), "%ld", round * i);
			text = join(text, number);
		}
		for (i = 0; text[i]; i++)
			sum = mix(sum + (unsigned char)text[i]);
		free(text);
		CHECK_EQUAL(dlclose(handle), 0);
	}
	printf("%016llx\n", (unsigned long long)sum);
	return 0;
}
