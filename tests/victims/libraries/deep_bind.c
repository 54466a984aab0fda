/* A library that is loaded so that its own dependencies come first: memory from anywhere must still be freed rightly. */
#include <stdlib.h>
#include <string.h>

char *deep_bind_join(char *first, const char *second);

/* A new string of both; frees the first. */
char *deep_bind_join(char *first, const char *second)
{
	char *copy = strdup(second), *both = realloc(first, strlen(first) + strlen(second) + 1);

	strcat(both, copy);
	free(copy);
	return both;
}
