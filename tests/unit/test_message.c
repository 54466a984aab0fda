/*
 * rt_format() against snprintf(), and the lines on stderr.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"
#include "runtime/base/message.h"

#define ROUNDS 20000
#define OUTPUT_SIZE 4096

/* Numbers of every length, and the ends of the ranges more often than chance would have them. */
static long random_number(void)
{
	static const long ends[] = {0, 1, -1, 9, 10, INT_MAX, INT_MIN, UINT_MAX, LONG_MAX, LONG_MIN};
	if (next_random() % 4 == 0)
		return ends[next_random() % (sizeof(ends) / sizeof(ends[0]))];
	return (long)(next_random() >> next_random() % 64);
}

static const char *random_string(void)
{
	static char text[200];
	size_t length = next_random() % sizeof(text);
	for (size_t i = 0; i < length; i++)
		text[i] = (char)(1 + next_random() % 255);
	text[length] = '\0';
	return text;
}

/* What rt_format() promises, given what snprintf() makes of the same. */
static void expect_same(const char *ours, size_t length, size_t size, const char *whole, int whole_length)
{
	size_t expected = (size_t)whole_length < size ? (size_t)whole_length : size - 1;
	cr_assert_eq(length, expected, "length %zu, not %zu, of \"%s\"", length, expected, whole);
	cr_assert(memcmp(ours, whole, expected) == 0, "\"%s\", not \"%s\"", ours, whole);
	cr_assert_eq(ours[expected], '\0', "not terminated");
}

/* Formats with both, into a buffer of `size` bytes whose next byte must stay as it was. */
#define COMPARE(size, ...)                                                         \
	do {                                                                       \
		char whole[OUTPUT_SIZE], ours[OUTPUT_SIZE];                        \
		size_t room = (size);                                              \
		memset(ours, '#', sizeof(ours));                                   \
		int whole_length = snprintf(whole, sizeof(whole), __VA_ARGS__);    \
		size_t length = rt_format(ours, room, __VA_ARGS__);                \
		expect_same(ours, length, room, whole, whole_length);              \
		cr_assert_eq(ours[room], '#', "wrote past the end of the buffer"); \
	} while (0)

static size_t random_size(void)
{
	return next_random() % 3 == 0 ? 1 + next_random() % 40 : OUTPUT_SIZE - 1;
}

Test(message, single_conversions)
{
	for (int i = 0; i < ROUNDS; i++) {
		long number = random_number();
		char letter = (char)(1 + next_random() % 255);
		COMPARE(random_size(), "%d", (int)number);
		COMPARE(random_size(), "%u", (unsigned)number);
		COMPARE(random_size(), "%ld", number);
		COMPARE(random_size(), "%lu", (unsigned long)number);
		COMPARE(random_size(), "%x", (unsigned)number);
		COMPARE(random_size(), "%lx", (unsigned long)number);
		COMPARE(random_size(), "%zu", (size_t)number);
		COMPARE(random_size(), "%c", letter);
	}
}

Test(message, several_conversions)
{
	for (int i = 0; i < ROUNDS; i++) {
		const char *text = random_string();
		long a = random_number(), b = random_number(), c = random_number();
		COMPARE(random_size(), "%s", text);
		COMPARE(random_size(), "page 0x%lx of %s: %d%%", (unsigned long)a, text, (int)b);
		COMPARE(random_size(), "%c%s%u%lu%x", 'c', text, (unsigned)a, (unsigned long)b, (unsigned)c);
		COMPARE(random_size(), "%ld%d%ld%d%ld%d%ld%d", a, (int)b, c, (int)a, b, (int)c, a, (int)b);
	}
}

Test(message, every_size)
{
	for (size_t size = 1; size < 60; size++)
		COMPARE(size, "a line of %s, %d and %lx, 100%%", "text", INT_MIN, ULONG_MAX);
}

Test(message, null_string)
{
	const char *volatile nothing = NULL;
	char text[64];
	cr_assert_eq(rt_format(text, sizeof(text), "<%s>", nothing), 8u);
	cr_assert_str_eq(text, "<(null)>");
}

Test(message, empty_and_plain)
{
	char text[64];
	const char *volatile empty = "";
	cr_assert_eq(rt_format(text, sizeof(text), "%s", empty), 0u);
	cr_assert_str_eq(text, "");
	COMPARE(sizeof(text), "nothing to convert");
}

/* A format that ends in the middle of a conversion must not be read past its end. */
Test(message, unfinished_conversion)
{
	char text[64];
	const char *volatile formats[] = {"abc%", "abc%l", "abc%z"};
	for (size_t i = 0; i < 3; i++) {
		const char *format = formats[i];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-security"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		cr_assert_eq(rt_format(text, sizeof(text), format), 3u);
#pragma GCC diagnostic pop
		cr_assert_str_eq(text, "abc");
	}
}

/* ---- stderr ---- */

static int saved_stderr;

static int catch_stderr(void)
{
	int ends[2];
	cr_assert_eq(pipe(ends), 0);
	saved_stderr = dup(2);
	dup2(ends[1], 2);
	close(ends[1]);
	return ends[0];
}

/* What was written since catch_stderr(), in a static buffer. */
static const char *caught(int from, size_t *length)
{
	static char text[8192];
	dup2(saved_stderr, 2);
	close(saved_stderr);
	ssize_t got = 0, part;
	while ((part = read(from, text + got, sizeof(text) - 1 - (size_t)got)) > 0)
		got += part;
	close(from);
	text[got] = '\0';
	*length = (size_t)got;
	return text;
}

Test(message, say)
{
	size_t length;
	int from = catch_stderr();
	rt_say("%s holds %lu pages", "/dev/shm/store", 17UL);
	cr_assert_str_eq(caught(from, &length), "respct: /dev/shm/store holds 17 pages\n");
}

Test(message, say_keeps_errno)
{
	size_t length;
	int from = catch_stderr();
	errno = EXDEV;
	rt_say("anything");
	int after = errno;
	caught(from, &length);
	cr_assert_eq(after, EXDEV);
}

/* However long, it is one line. */
Test(message, say_too_much)
{
	static char long_text[3000];
	size_t length;
	memset(long_text, 'x', sizeof(long_text) - 1);
	int from = catch_stderr();
	rt_say("%s", long_text);
	const char *line = caught(from, &length);
	cr_assert(length > 500 && length <= 1024, "%zu bytes", length);
	cr_assert_eq(strncmp(line, "respct: xxx", 11), 0);
	cr_assert_eq(strchr(line, '\n'), line + length - 1);
}

Test(message, refuse)
{
	size_t length;
	int status, from = catch_stderr();
	pid_t child = fork();
	if (child == 0)
		rt_refuse("a static program: %s", "/bin/true");
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_str_eq(caught(from, &length), "respct: a static program: /bin/true\n");
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 125, "status %x", status);
}

Test(message, error_text)
{
	for (int error = -200; error <= 200; error++) {
		const char *text = rt_error_text(error);
		cr_assert(text != NULL && text[0] != '\0', "error %d", error);
		cr_assert_str_eq(text, rt_error_text(-error));
	}
	cr_assert(strstr(rt_error_text(-ENOSPC), "no space left on device") != NULL);
}
