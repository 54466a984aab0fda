/*
 * C++: std::thread, condition_variable, shared_mutex, futures, promises, async, call_once, atomics that wait, thread_local
 * objects with destructors, exceptions thrown and caught across frames and threads, containers, streams.
 */
#include <array>
#include <atomic>
#include <condition_variable>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <cstdint>
#include <cstdlib>

#include "victim.hh"

namespace {

constexpr int threads = 4;

std::uint64_t mix(std::uint64_t z)
{
	z += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

/* An exception with contents of its own, thrown at some depth. */
class deep_error : public std::runtime_error {
public:
	deep_error(int depth, std::uint64_t its_value)
		: std::runtime_error("depth " + std::to_string(depth)), value(its_value)
	{
	}
	std::uint64_t value;
};

std::atomic<int> alive; /* of `counted` */

struct counted {
	counted() { alive++; }
	counted(const counted &) { alive++; }
	~counted() { alive--; }
};

std::uint64_t descend(int depth, std::uint64_t value)
{
	counted here;

	if (depth == 0)
		throw deep_error(static_cast<int>(value % 17), value);
	try {
		return descend(depth - 1, mix(value));
	} catch (const std::bad_alloc &) {
		return 0;
	}
}

std::uint64_t throw_and_catch(std::uint64_t value)
{
	try {
		return descend(static_cast<int>(value % 12) + 1, value);
	} catch (const deep_error &error) {
		CHECK(error.what() == "depth " + std::to_string(error.value % 17));
		return error.value;
	}
}

std::atomic<int> destroyed;

struct thread_storage {
	std::map<std::uint64_t, std::string> words;
	std::uint64_t sum = 0;
	~thread_storage()
	{
		std::uint64_t lengths = 0;

		for (const auto &[value, word] : words)
			lengths += word == std::to_string(value) ? word.size() : 0;
		CHECK(lengths == sum);
		destroyed++;
	}
	void add(std::uint64_t value)
	{
		if (words.emplace(value, std::to_string(value)).second)
			sum += std::to_string(value).size();
	}
};

thread_local thread_storage storage;

/* A queue between threads. */
template <typename T> class channel {
public:
	void put(T item)
	{
		std::unique_lock lock(mutex);
		changed.wait(lock, [this] { return items.size() < 16; });
		items.push_back(std::move(item));
		changed.notify_all();
	}
	T get()
	{
		std::unique_lock lock(mutex);
		while (!changed.wait_for(lock, std::chrono::hours(1), [this] { return !items.empty(); }))
			;
		T item = std::move(items.front());
		items.erase(items.begin());
		changed.notify_all();
		return item;
	}

private:
	std::mutex mutex;
	std::condition_variable changed;
	std::vector<T> items;
};

std::shared_mutex table_mutex;
std::map<int, std::uint64_t> table;

void use_table(int round)
{
	for (int i = 0; i < 50; i++) {
		if (i % 5 == 0) {
			std::unique_lock lock(table_mutex);

			table[i] += static_cast<std::uint64_t>(round);
			table[i + 1] = table[i];
		} else {
			std::shared_lock lock(table_mutex);
			auto first = table.find(i - i % 5), second = table.find(i - i % 5 + 1);

			CHECK(first == table.end() || first->second == second->second);
		}
	}
}

void serve(channel<std::packaged_task<std::uint64_t()>> &tasks, int round)
{
	storage.add(0);
	for (;;) {
		auto task = tasks.get();

		if (!task.valid())
			return;
		task();
		storage.add(mix(static_cast<std::uint64_t>(round)) % 1000);
		use_table(round);
	}
}

/* Futures of packaged tasks; every third one ends with an exception. */
std::uint64_t run_tasks(int round)
{
	channel<std::packaged_task<std::uint64_t()>> tasks;
	std::vector<std::thread> servers;
	std::vector<std::future<std::uint64_t>> futures;
	std::uint64_t sum = 0;

	for (int i = 0; i < threads; i++)
		servers.emplace_back(serve, std::ref(tasks), round);
	for (std::uint64_t i = 0; i < 60; i++) {
		std::packaged_task<std::uint64_t()> task([i, round] {
			std::uint64_t value = throw_and_catch(i * 1000 + static_cast<std::uint64_t>(round));

			if (i % 3 == 0)
				throw deep_error(static_cast<int>(i), value);
			return value;
		});
		futures.push_back(task.get_future());
		tasks.put(std::move(task));
	}
	for (int i = 0; i < threads; i++)
		tasks.put({});
	for (auto &future : futures) {
		try {
			sum += future.get();
		} catch (const deep_error &error) {
			sum += error.value / 2;
		}
	}
	for (auto &server : servers)
		server.join();
	CHECK(alive == 0);
	return sum;
}

std::uint64_t run_async(int round)
{
	std::vector<std::future<std::uint64_t>> futures;
	std::uint64_t sum = 0;

	for (int i = 0; i < threads; i++)
		futures.push_back(std::async(std::launch::async, [i, round] {
			std::vector<std::uint64_t> values(5000);

			std::iota(values.begin(), values.end(), static_cast<std::uint64_t>(i + round));
			return std::accumulate(values.begin(), values.end(), std::uint64_t{0},
					       [](std::uint64_t a, std::uint64_t b) { return mix(a) + b; });
		}));
	for (auto &future : futures)
		sum += future.get();
	return sum;
}

/* Atomics that wait, by futex inside libstdc++. */
std::uint64_t run_ping_pong(int rounds)
{
	std::atomic<int> turn{0};
	std::thread other([&] {
		for (int i = 0; i < rounds; i++) {
			turn.wait(2 * i);
			turn = 2 * i + 2;
			turn.notify_all();
		}
	});

	for (int i = 0; i < rounds; i++) {
		turn = 2 * i + 1;
		turn.notify_all();
		turn.wait(2 * i + 1);
	}
	other.join();
	return static_cast<std::uint64_t>(turn);
}

std::uint64_t run_promises(int round)
{
	std::promise<std::string> promise;
	std::shared_future<std::string> future = promise.get_future().share();
	std::array<std::uint64_t, threads> lengths{};
	std::vector<std::thread> waiters;
	std::once_flag once;
	int called = 0;

	for (int i = 0; i < threads; i++)
		waiters.emplace_back([&, i] {
			std::call_once(once, [&] { called++; });
			lengths[static_cast<size_t>(i)] = future.get().size();
		});
	std::this_thread::sleep_for(std::chrono::milliseconds(1));
	promise.set_value(std::string(static_cast<size_t>(round % 50 + 20), 'x'));
	for (auto &waiter : waiters)
		waiter.join();
	CHECK(called == 1);
	return std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0});
}

} // namespace

int main(int argc, char **argv)
{
	int rounds = 400 * (argc > 1 ? std::atoi(argv[1]) : 100) / 100;
	std::uint64_t sum = 0;

	for (int round = 1; round <= rounds; round++) {
		std::ostringstream text;

		sum = mix(sum + run_tasks(round));
		sum = mix(sum + run_async(round));
		/* On a busy machine, every turn waits for a time slice. */
		if (round % 20 == 0)
			sum = mix(sum + run_ping_pong(50));
		sum = mix(sum + run_promises(round));
		text << "round " << round << ": " << std::hex << sum << std::dec << ", table " << table.at(45);
		std::cout << text.str() << '\n';
		CHECK(destroyed == round * threads);
	}
	std::cout << "thread-local objects destroyed: " << destroyed << std::endl;
	return 0;
}
