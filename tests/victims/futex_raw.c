/* Futexes by raw system call: waits with a relative and with an absolute timeout expire in time, once, and not
 * with EINTR; a waiter is woken exactly once; a requeued one too. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "victim.h"

#define WAIT_NS (150 * MILLISECOND)
#define LATE_NS (20 * SECOND) /* of a machine that is busy, or was down */

static uint32_t never, token, parking, moved, turn; /* futexes; `parking` counts what is given */
static long tokens_taken;                           /* atomic */
static long rounds;

static long futex(uint32_t *word, int command, uint32_t value, const struct timespec *timeout, uint32_t *other,
		  uint32_t third)
{
	return syscall(SYS_futex, word, command, value, timeout, other, third);
}

static void *sleep_relative(void *argument)
{
	struct timespec timeout = to_timespec(WAIT_NS);

	for (long i = 0; i < rounds; i++) {
		int64_t begin = now_ns();
		CHECK_EQUAL(futex(&never, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0), -1);
		CHECK_EQUAL(errno, ETIMEDOUT);
		CHECK(now_ns() - begin >= WAIT_NS - MILLISECOND);
		CHECK(now_ns() - begin < LATE_NS);
		CHECK_EQUAL(timeout.tv_nsec, WAIT_NS);
	}
	return argument;
}

static void *sleep_absolute(void *argument)
{
	for (long i = 0; i < rounds; i++) {
		struct timespec deadline = to_timespec(now_ns() + WAIT_NS);
		CHECK_EQUAL(futex(&never, FUTEX_WAIT_BITSET_PRIVATE, 0, &deadline, NULL, ~0U), -1);
		CHECK_EQUAL(errno, ETIMEDOUT);
	}
	return argument;
}

static uint32_t load(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Takes tokens one by one; moved from `parking` to `token` by the giver when it sleeps there. */
static void *take_tokens(void *argument)
{
	long wanted = rounds * 20;

	while (__atomic_load_n(&tokens_taken, __ATOMIC_ACQUIRE) < wanted) {
		uint32_t gifts = load(&parking), have = load(&token);
		if (have == 0) {
			long result = futex(&parking, FUTEX_WAIT_PRIVATE, gifts, NULL, NULL, 0);
			CHECK(result == 0 || errno == EAGAIN);
			continue;
		}
		if (!__atomic_compare_exchange_n(&token, &have, have - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		__atomic_add_fetch(&tokens_taken, 1, __ATOMIC_ACQ_REL);
		__atomic_store_n(&turn, 1, __ATOMIC_RELEASE);
		futex(&turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
	return argument;
}

static void give_tokens(void)
{
	for (long i = 0; i < rounds * 20; i++) {
		__atomic_store_n(&turn, 0, __ATOMIC_RELEASE);
		__atomic_add_fetch(&token, 1, __ATOMIC_ACQ_REL);
		/* Wakes one, and moves one of the others to where the next wake-up goes. */
		uint32_t gifts = __atomic_add_fetch(&parking, 1, __ATOMIC_ACQ_REL);
		CHECK(futex(&parking, FUTEX_CMP_REQUEUE_PRIVATE, 1, (const struct timespec *)1, &moved, gifts) >= 0);
		futex(&moved, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		while (load(&turn) == 0)
			CHECK(futex(&turn, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) == 0 || errno == EAGAIN);
		usleep(1000);
	}
}

int main(int argc, char **argv)
{
	pthread_t sleepers[2], takers[3];

	rounds = victim_work(argc, argv, 15);
	sleepers[0] = start_thread(sleep_relative, NULL);
	sleepers[1] = start_thread(sleep_absolute, NULL);
	for (int i = 0; i < 3; i++)
		takers[i] = start_thread(take_tokens, NULL);
	give_tokens();
	__atomic_add_fetch(&parking, 1, __ATOMIC_RELEASE);
	futex(&parking, FUTEX_WAKE_PRIVATE, 3, NULL, NULL, 0);
	futex(&moved, FUTEX_WAKE_PRIVATE, 8, NULL, NULL, 0);
	for (int i = 0; i < 3; i++)
		join_thread(takers[i]);
	join_thread(sleepers[0]);
	join_thread(sleepers[1]);
	printf("futex_raw: %ld %ld\n", rounds, tokens_taken);
	return 0;
}
