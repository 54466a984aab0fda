/*
 * What the victims share. A victim is one small program about one topic; it does a fixed amount
 * of work, finds inconsistencies itself (CHECK), and prints a result that depends on all it did
 * and on nothing else. It is run undisturbed and then killed and restored by `respct crash`.
 *
 * It has work for about half a second; the suite asks for a part of that, in which all the kills come (tests/run-tests).
 *
 * argv[1] scales the work in percent. Exit status: 0, 1 when a check failed, 77 when it cannot
 * run on this machine.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND 1000000LL
#define SECOND 1000000000LL
#define PAGE 4096UL

#define CHECK(condition)                                                   \
	do {                                                               \
		if (!(condition))                                          \
			victim_failed(__FILE__, __LINE__, #condition, ""); \
	} while (0)

/* CHECK with values for the message: CHECK_EQUAL(got, expected). */
#define CHECK_EQUAL(a, b)                                                                                \
	do {                                                                                             \
		long long victim_a = (long long)(a), victim_b = (long long)(b);                          \
		char victim_text[64];                                                                    \
		if (victim_a != victim_b) {                                                              \
			snprintf(victim_text, sizeof(victim_text), " (%lld, %lld)", victim_a, victim_b); \
			victim_failed(__FILE__, __LINE__, #a " == " #b, victim_text);                    \
		}                                                                                        \
	} while (0)

static inline void __attribute__((noreturn))
victim_failed(const char *file, int line, const char *what, const char *values)
{
	char text[512];
	int length =
		snprintf(text, sizeof(text), "%s:%d: check failed: %s%s, errno %d\n", file, line, what, values, errno);

	if (write(2, text, (size_t)length) < 0)
		_exit(2);
	_exit(1);
}

/* `count` scaled by argv[1]. */
static inline long victim_work(int argc, char **argv, long count)
{
	long percent = argc > 1 ? atol(argv[1]) : 100;
	long work = count * percent / 100;

	return work > 0 ? work : 1;
}

/* A good hash of 64 bits (the finalizer of splitmix64). */
static inline uint64_t mix(uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* The next pseudo-random number of a sequence. */
static inline uint64_t next_random(uint64_t *state)
{
	*state += 0x9e3779b97f4a7c15;
	return mix(*state);
}

static inline int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	CHECK(clock_gettime(clock, &now) == 0);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static inline int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static inline struct timespec to_timespec(int64_t ns)
{
	struct timespec time = {ns / SECOND, ns % SECOND};

	return time;
}

static inline pthread_t start_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;

	CHECK_EQUAL(pthread_create(&thread, NULL, function, argument), 0);
	return thread;
}

static inline void *join_thread(pthread_t thread)
{
	void *result;

	CHECK_EQUAL(pthread_join(thread, &result), 0);
	return result;
}

/* Runs `function` in `count` threads with the arguments 0 .. count-1 and joins them. */
static inline void run_threads(int count, void *(*function)(void *))
{
	pthread_t threads[64];
	int i;

	CHECK(count <= 64);
	for (i = 0; i < count; i++)
		threads[i] = start_thread(function, (void *)(intptr_t)i);
	for (i = 0; i < count; i++)
		join_thread(threads[i]);
}

/* Some work without system calls, so that programs spend time between their calls. It is done even
 * when nobody looks at the result. */
static inline uint64_t spin(uint64_t value, int rounds)
{
	while (rounds-- > 0) {
		value = mix(value);
		__asm__ volatile("" : "+r"(value));
	}
	return value;
}

#endif
