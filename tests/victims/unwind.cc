/*
 * What unwinds through a signal handler into the code that it has interrupted: an exception that it throws, the
 * cancellation of its thread, a backtrace.
 */
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <stdexcept>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <unwind.h>

#include "victim.hh"

namespace {

/* Not known to throw nothing, as strlen() is. */
std::size_t (*volatile length_of)(const char *) = std::strlen;
int (*volatile wait_for_signal)() = pause;
int (*volatile wait_with_mask)(const sigset_t *) = sigsuspend;

std::atomic<int> destroyed, in_handler;

struct counted {
	~counted() { destroyed++; }
};

/* ---- exceptions ---- */

void throw_fault(int number, siginfo_t *info, void *)
{
	throw std::runtime_error(std::to_string(number) + " " +
				 std::to_string(reinterpret_cast<std::uintptr_t>(info->si_addr)));
}

/* The values live in registers across the call. */
std::uint64_t survive_fault(std::uint64_t value)
{
	std::uint64_t a = value * 3, b = value * 5, c = value * 7, d = value * 11, e = value * 13;

	asm volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e)); /* not computed again afterwards */
	try {
		counted here;
		a += length_of(reinterpret_cast<const char *>(value % 1000 + 1));
		CHECK(false);
	} catch (const std::runtime_error &error) {
		CHECK(error.what() == std::to_string(SIGSEGV) + " " + std::to_string(value % 1000 + 1));
	}
	CHECK(a == value * 3 && b == value * 5 && c == value * 7 && d == value * 11 && e == value * 13);
	return a ^ b ^ c ^ d ^ e;
}

/* ---- cancellation ---- */

void wait_in_handler(int)
{
	in_handler++;
	for (;;)
		wait_for_signal();
}

/* SIGUSR1 comes in sigsuspend() only: from instructions that are no calls, gcc's C++ code cannot be unwound. */
void *wait_to_be_cancelled(void *)
{
	counted here;
	sigset_t none;

	sigemptyset(&none);
	for (;;)
		wait_with_mask(&none);
}

void cancel_in_handler()
{
	pthread_t thread;
	void *result = nullptr;
	int before = destroyed, handlers = in_handler;

	CHECK(pthread_create(&thread, nullptr, wait_to_be_cancelled, nullptr) == 0);
	CHECK(pthread_kill(thread, SIGUSR1) == 0);
	while (in_handler == handlers)
		usleep(50);
	CHECK(pthread_cancel(thread) == 0);
	CHECK(pthread_join(thread, &result) == 0);
	CHECK(result == PTHREAD_CANCELED);
	CHECK(destroyed == before + 1);
}

/* ---- backtraces ---- */

std::atomic<int> traced;

void __attribute__((noinline)) raise_in_here(int number)
{
	CHECK(raise(number) == 0);
	traced++; /* no tail call */
}

_Unwind_Reason_Code look_for_raiser(struct _Unwind_Context *context, void *found)
{
	auto at = reinterpret_cast<void *>(_Unwind_GetIP(context) - 1);

	if (_Unwind_FindEnclosingFunction(at) == reinterpret_cast<void *>(raise_in_here))
		*static_cast<bool *>(found) = true;
	return _URC_NO_REASON;
}

void trace_back(int)
{
	bool found = false;

	_Unwind_Backtrace(look_for_raiser, &found);
	CHECK(found);
	traced++;
}

void set_handler(int number, void (*handler)(int), int flags)
{
	struct sigaction action = {};

	action.sa_handler = handler;
	action.sa_flags = flags;
	CHECK(sigaction(number, &action, nullptr) == 0);
}

} // namespace

int main(int argc, char **argv)
{
	int rounds = (argc > 1 ? std::atoi(argv[1]) : 100) * 40;
	struct sigaction action = {};
	std::uint64_t sum = 0;
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	CHECK(pthread_sigmask(SIG_BLOCK, &blocked, nullptr) == 0); /* the threads inherit it */
	action.sa_sigaction = throw_fault;
	action.sa_flags = SA_SIGINFO | SA_NODEFER; /* it is not left by a return */
	CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
	set_handler(SIGUSR1, wait_in_handler, 0);
	set_handler(SIGUSR2, trace_back, SA_RESTART);
	CHECK(signal(SIGURG, trace_back) != SIG_ERR);
	for (int i = 0; i < rounds; i++) {
		sum += survive_fault(static_cast<std::uint64_t>(i));
		if (i % 8 == 0)
			cancel_in_handler();
		raise_in_here(i % 2 ? SIGUSR2 : SIGURG);
		CHECK(traced == 2 * (i + 1));
	}
	CHECK(destroyed == rounds + (rounds + 7) / 8);
	std::cout << "unwind: " << rounds << " rounds, " << sum << std::endl;
	return 0;
}
