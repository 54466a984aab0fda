/*
 * The runtime's own descriptors: where they are put, and the set of them.
 *
 * The set lives in static variables, which start empty here: each test is its own process.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Not in the library of the tests: those of the descriptors hide what they like. */
#include "runtime/base/hidden.h"

#include "random.h"

#define NUMBERS 256 /* descriptor numbers the model knows */

static void limit_descriptors(rlim_t soft)
{
	struct rlimit limit;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (soft > limit.rlim_max)
		cr_skip_test("the hard limit of descriptors is lower");
	limit.rlim_cur = soft;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int open_one(void)
{
	int fd = open("/dev/null", O_RDONLY);
	cr_assert(fd >= 0, "%d", errno);
	return fd;
}

/* ---- where they go ---- */

static void expect_hidden_high(rlim_t limit)
{
	limit_descriptors(limit);
	int low = open_one();
	int high = rt_hide(low);
	cr_assert(high >= 0, "%d", high);
	cr_assert(high >= rt_hidden_floor() && (rlim_t)high < limit, "%d with a limit of %lu", high, limit);
	cr_assert(!is_open(low), "the low number is still taken");
	cr_assert_eq(fcntl(high, F_GETFD), FD_CLOEXEC);
	cr_assert(rt_is_hidden(high) && !rt_is_hidden(low));
	cr_assert_eq(open_one(), low, "the program gets another number than it would have");
}

Test(hidden, goes_high)
{
	expect_hidden_high(1024);
}

Test(hidden, goes_high_with_a_large_limit)
{
	limit_descriptors(100000);
	cr_assert(rt_hidden_floor() < 65536, "the kernel's table would grow without bound");
	rt_hidden_reset();
	expect_hidden_high(100000);
}

Test(hidden, goes_high_with_a_small_limit)
{
	expect_hidden_high(64);
	cr_assert(rt_hidden_floor() >= 16, "%d", rt_hidden_floor());
}

Test(hidden, goes_high_with_a_tiny_limit)
{
	expect_hidden_high(20);
}

Test(hidden, floor_leaves_room_above_and_below)
{
	static const rlim_t limits[] = {20, 64, 100, 127, 128, 129, 130, 200, 256, 1000, 1024, 4096};
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		limit_descriptors(limits[i]);
		rt_hidden_reset();
		int floor_here = rt_hidden_floor();
		cr_assert(floor_here >= (int)limits[i] / 3, "limit %lu: floor %d", limits[i], floor_here);
		cr_assert(floor_here <= (int)limits[i] - (limits[i] > 128 ? 64 : (int)limits[i] / 2),
			  "limit %lu: floor %d", limits[i], floor_here);
	}
}

/* When there is no number left, the caller is told, and nothing stays open. */
Test(hidden, no_number_left)
{
	limit_descriptors(32);
	int first_free = open_one();
	close(first_free);
	int high;
	do {
		high = rt_hide(open_one());
	} while (high >= 0);
	cr_assert(high == -EMFILE || high == -EINVAL, "%d", high);
	cr_assert_eq(open_one(), first_free);
}

Test(hidden, passes_errors_through)
{
	cr_assert_eq(rt_hide(-ENOENT), -ENOENT);
	cr_assert_eq(rt_next_hidden(0), -1);
	cr_assert(!rt_is_hidden(-1) && !rt_is_hidden(-ENOENT));
}

Test(hidden, descriptor_that_is_not_open)
{
	cr_assert_eq(rt_hide(555), -EBADF);
	cr_assert_eq(rt_next_hidden(0), -1);
}

/* ---- the set, against a model ---- */

static bool model[NUMBERS];
static int model_count;

static int model_next(int fd)
{
	for (fd = fd < 0 ? 0 : fd; fd < NUMBERS; fd++)
		if (model[fd])
			return fd;
	return -1;
}

static void expect_same_set(void)
{
	for (int fd = 0; fd < NUMBERS; fd++) {
		cr_assert_eq(rt_is_hidden(fd), model[fd], "%d", fd);
		cr_assert_eq(rt_next_hidden(fd), model_next(fd), "next of %d", fd);
	}
}

static void change_set(void)
{
	int fd = (int)(next_random() % NUMBERS);
	if (model[fd]) {
		rt_unhide(fd);
		model[fd] = false;
		model_count--;
	} else if (model_count < 60) {
		rt_hide_in_place(fd);
		model[fd] = true;
		model_count++;
	}
}

Test(hidden, set)
{
	for (int i = 0; i < 5000; i++) {
		change_set();
		if (i % 10 == 0)
			expect_same_set();
	}
	rt_hidden_reset();
	memset(model, 0, sizeof(model));
	expect_same_set();
}

Test(hidden, descriptor_zero)
{
	rt_hide_in_place(0);
	cr_assert(rt_is_hidden(0));
	cr_assert_eq(rt_next_hidden(0), 0);
	rt_unhide(0);
	cr_assert(!rt_is_hidden(0));
}

Test(hidden, unhide_of_what_is_not_hidden)
{
	rt_hide_in_place(5);
	rt_unhide(6);
	cr_assert(rt_is_hidden(5));
}

Test(hidden, reset_closes_nothing)
{
	int high = rt_hide(open_one());
	rt_hidden_reset();
	cr_assert(!rt_is_hidden(high));
	cr_assert(is_open(high));
}

Test(hidden, close_closes_all_and_no_other)
{
	int high[5], other = open_one();
	for (int i = 0; i < 5; i++)
		high[i] = rt_hide(open_one());
	rt_close_hidden();
	for (int i = 0; i < 5; i++)
		cr_assert(!is_open(high[i]) && !rt_is_hidden(high[i]));
	cr_assert(is_open(other));
	cr_assert_eq(rt_next_hidden(0), -1);
}
