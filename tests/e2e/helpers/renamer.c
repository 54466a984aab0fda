/*
 * renamer PATH: gives the file PATH the name "other" and its own again, over and over, until a file called `go` is in
 * its directory. Exit status: 1, with a message, when there is nothing to rename.
 */
#include <stdio.h>
#include <unistd.h>

static int give(const char *old, const char *new)
{
	if (rename(old, new) == 0)
		return 0;
	perror(old);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (unsigned long i = 0; i % 100 || access("go", F_OK); i++)
		if (give(argv[1], "other") || give("other", argv[1]))
			return 1;
	return 0;
}
