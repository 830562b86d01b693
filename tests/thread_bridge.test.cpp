// SPDX-License-Identifier: BSL-1.0
// run_in_executor over threads: arguments and results, where things run, cancellation, both orders of destruction.
#include <coproc/thread_bridge.hpp>

#include <coproc/error.hpp>
#include <coproc/gather.hpp>
#include <coproc/run.hpp>
#include <coproc/with_timeout.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <latch>
#include <memory>
#include <numeric>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace public_thread_bridge {

namespace net = coproc::net;
using coproc::run_in_executor;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

struct no_default {
  explicit no_default(int n) : value(n) {}
  int value;
  int plus(int n) const { return value + n; }
};

no_default make(int a, std::string b) { return no_default(a + static_cast<int>(b.size())); }

void throw_it() { throw std::out_of_range("from the thread"); }

std::thread::id thread_id() { return std::this_thread::get_id(); }

std::unique_ptr<int> doubled(std::unique_ptr<int> n) { return std::make_unique<int>(*n * 2); }

struct not_assignable {
  explicit not_assignable(int n) : value(n) {}
  not_assignable(not_assignable&&) = default;
  not_assignable& operator=(not_assignable&&) = delete;
  const int value;
};

// Its second move throws: that of the caller, after the one from what the function returns.
struct moved_once {
  explicit moved_once(int n) : value(n) {}
  moved_once(moved_once&& o) : value(o.value), moves(o.moves + 1) {
    if (value == 13 && moves == 2) throw std::runtime_error("moved");
  }
  moved_once* operator&() = delete; // which is nobody's business
  int value;
  int moves = 0;
};

moved_once ominous(int n) { return moved_once(n); }

not_assignable made_once(int n) { return not_assignable(n); }

const std::string& longest(const std::string& a, const std::string& b) { return a.size() > b.size() ? a : b; }

} // namespace

TEST_CASE("fn runs on a thread of the pool and the caller goes on where it was") {
  net::thread_pool pool(1);
  const auto body = [&]() -> net::awaitable<void> {
    const auto here = std::this_thread::get_id();
    auto there = co_await run_in_executor(pool, thread_id);
    CHECK(there != here);
    CHECK(std::this_thread::get_id() == here);
    auto by_executor = co_await run_in_executor(pool.get_executor(), thread_id);
    CHECK(by_executor == there);
    auto by_any = co_await run_in_executor(net::any_io_executor(pool.get_executor()), &thread_id);
    CHECK(by_any == there);
    const auto strand = net::make_strand(pool);
    auto by_strand = co_await run_in_executor(strand, thread_id);
    CHECK(by_strand == there);
  };
  coproc::run(body());
}

TEST_CASE("arguments and results: conversion, moves, members, references, void, no default constructor") {
  net::thread_pool pool(2);
  const auto body = [&]() -> net::awaitable<int> {
    auto made = co_await run_in_executor(pool, make, 1, "four");
    CHECK(made.value == 5);
    auto fixed = co_await run_in_executor(pool, made_once, 7);
    CHECK(fixed.value == 7);
    auto member = co_await run_in_executor(pool, &no_default::plus, made, 3);
    CHECK(member == 8);
    auto pointer = co_await run_in_executor(pool, doubled, std::make_unique<int>(4));
    CHECK(*pointer == 8);
    std::string a = "a string that is too long to be stored inside", b = "short";
    auto copied = co_await run_in_executor(pool, longest, a, b);
    CHECK(copied == a);
    auto moved = co_await run_in_executor(pool, longest, coproc::moved(a), b);
    CHECK(moved == copied);
    CHECK(a.empty());
    auto lambda = co_await run_in_executor(pool, [](int n) { return n + 1; }, 1);
    CHECK(lambda == 2);
    auto capturing = [b](const std::string& s) { return b + s; };
    auto text = co_await run_in_executor(pool, capturing, std::string("er"));
    CHECK(text == "shorter");
    auto again = co_await run_in_executor(pool, coproc::moved(capturing), std::string("est"));
    CHECK(again == "shortest");
    int count = 0;
    co_await run_in_executor(pool, [](int& n) { ++n; }, std::ref(count));
    co_return count;
  };
  CHECK(coproc::run(body()) == 1);
}

TEST_CASE("arguments are copied before the call returns") {
  net::thread_pool pool(1);
  const auto body = [&]() -> net::awaitable<std::string> {
    std::string a = "before", b;
    auto later = run_in_executor(pool, longest, a, b);
    a = "afterwards";
    auto result = co_await std::move(later);
    co_return result;
  };
  CHECK(coproc::run(body()) == "before");
}

TEST_CASE("exceptions come through as they are") {
  net::thread_pool pool(1);
  const auto body = [&]() -> net::awaitable<void> { co_await run_in_executor(pool, throw_it); };
  CHECK_THROWS_AS(coproc::run(body()), std::out_of_range);
}

TEST_CASE("a result that cannot be moved is the caller's exception") {
  net::thread_pool pool(1);
  const auto body = [&]() -> net::awaitable<void> {
    auto lucky = co_await run_in_executor(pool, ominous, 12);
    CHECK(lucky.value == 12);
    auto awaited = run_in_executor(pool, ominous, 13);
    co_await std::move(awaited);
  };
  CHECK_THROWS_WITH(coproc::run(body()), "moved");
}

TEST_CASE("a caller may run on the very pool") {
  net::thread_pool pool(1);
  const auto body = [&]() -> net::awaitable<int> {
    auto n = co_await run_in_executor(pool, [](int i) { return i + 1; }, 1);
    co_return n;
  };
  auto future = net::co_spawn(pool, body, net::use_future);
  CHECK(future.get() == 2);
  pool.join();
}

TEST_CASE("what has not started is withdrawn, by any type") {
  for (auto type : {cancellation_type::total, cancellation_type::partial, cancellation_type::terminal}) {
    net::io_context io;
    net::thread_pool pool(1);
    std::binary_semaphore go(0);
    std::atomic<int> calls = 0;
    net::post(pool, [&] { go.acquire(); });
    net::cancellation_signal signal;
    std::exception_ptr error;
    auto count = [&] { ++calls; };
    const auto body = [&]() -> net::awaitable<void> {
      co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
      co_await run_in_executor(pool, count);
    };
    net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
    io.poll();
    signal.emit(type);
    io.run();
    CHECK(coproc::code_of(error) == net::error::operation_aborted);
    go.release();
    pool.join();
    CHECK(calls == 0);
  }
}

TEST_CASE("partial cancellation of what runs raises the stop flag; the result is what fn makes of it") {
  net::io_context io;
  net::thread_pool pool(1);
  std::latch running(1);
  net::cancellation_signal signal;
  std::optional<int> result;
  auto until_stopped = [&] {
    running.count_down();
    int looks = 1;
    while (!coproc::detail::worker::thread_stop_flag->load(std::memory_order_relaxed))
      ++looks, std::this_thread::yield();
    return looks > 0 ? 42 : 0;
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await net::this_coro::reset_cancellation_state(net::enable_partial_cancellation());
    result = co_await run_in_executor(pool, until_stopped);
  };
  net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), net::detached));
  io.poll();
  running.wait();
  signal.emit(cancellation_type::partial);
  io.run();
  CHECK(result == 42);
}

TEST_CASE("terminal cancellation of what runs completes now; the thread goes on alone") {
  net::io_context io;
  net::thread_pool pool(1);
  std::latch running(1);
  std::binary_semaphore go(0);
  std::atomic<bool> stop_seen = false, finished = false;
  auto stubborn = [&](std::shared_ptr<int> kept) {
    running.count_down();
    go.acquire();
    stop_seen = coproc::detail::worker::thread_stop_flag->load();
    finished = true;
    return kept;
  };
  auto kept = std::make_shared<int>();
  net::cancellation_signal signal;
  std::exception_ptr error;
  const auto body = [&]() -> net::awaitable<void> { co_await run_in_executor(pool, stubborn, kept); };
  net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
  io.poll();
  running.wait();
  signal.emit(cancellation_type::terminal);
  io.run();
  CHECK(coproc::code_of(error) == net::error::operation_aborted);
  CHECK_FALSE(finished);
  CHECK(kept.use_count() > 1);
  go.release();
  pool.join();
  CHECK(finished);
  CHECK(stop_seen);
  CHECK(kept.use_count() == 1);
}

TEST_CASE("a time-out frees the caller of a thread that does not listen") {
  net::thread_pool pool(1);
  std::binary_semaphore go(0);
  auto block = [&] { go.acquire(); };
  const auto body = [&]() -> net::awaitable<void> {
    co_await coproc::with_timeout(std::chrono::milliseconds(1), run_in_executor(pool, block));
  };
  CHECK_THROWS_AS(coproc::run(body()), coproc::timed_out);
  go.release();
  pool.join();
}

TEST_CASE("a pool destroyed before fn starts aborts the call") {
  net::io_context io;
  std::exception_ptr error;
  {
    std::optional<net::thread_pool> pool(std::in_place, 1);
    std::latch running(1);
    net::post(*pool, [&] {
      running.count_down();
      pool->stop();
    });
    running.wait();
    pool->join();
    const auto body = [&]() -> net::awaitable<void> { co_await run_in_executor(*pool, thread_id); };
    net::co_spawn(io, body, [&](std::exception_ptr e) { error = e; });
    io.poll();
    CHECK(error == nullptr);
    pool.reset();
  }
  io.run();
  CHECK(coproc::code_of(error) == net::error::operation_aborted);
}

TEST_CASE("a context may be destroyed while fn runs for it") {
  net::thread_pool pool(2);
  auto witness = std::make_shared<int>();
  for (int i = 0; i < 50; ++i) {
    std::latch running(1);
    auto work = [&] { running.count_down(); };
    net::io_context io;
    net::co_spawn(io, [&, witness]() -> net::awaitable<void> { co_await run_in_executor(pool, work); }, net::detached);
    io.poll();
    running.wait();
  }
  CHECK(witness.use_count() == 1);
  pool.join();
}

namespace {

std::uint64_t sum(std::vector<std::uint64_t> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), std::uint64_t{0});
}

} // namespace

TEST_CASE("a coroutine that waits for a strand's thread keeps nothing of the pool, which may go first") {
  std::optional<net::io_context> io(std::in_place);
  auto witness = std::make_shared<int>();
  {
    net::thread_pool pool(1);
    net::co_spawn(
        *io,
        [pool = &pool, witness]() -> net::awaitable<void> {
          auto awaited = run_in_executor(net::make_strand(*pool), [] {});
          co_await std::move(awaited);
        },
        net::detached);
    io->poll();
    pool.join();
  }
  io.reset(); // AddressSanitizer would see a strand that was left in the coroutine
  CHECK(witness.use_count() == 1);
}

TEST_CASE("many calls from several threads, some of them cancelled") {
  net::io_context io;
  net::thread_pool pool(3);
  std::atomic<int> right = 0, aborted = 0;
  const auto caller = [&](std::size_t seed) -> net::awaitable<void> {
    for (std::size_t i = 0; i < 200; ++i) {
      std::vector<std::uint64_t> numbers(seed + i, i);
      const std::uint64_t expected = (seed + i) * i;
      std::exception_ptr error;
      try {
        auto result = i % 4 == 0
                          ? coproc::with_timeout(std::chrono::microseconds(1 + i), run_in_executor(pool, sum, numbers))
                          : run_in_executor(pool, sum, numbers);
        auto value = co_await std::move(result);
        if (value == expected) ++right;
      } catch (const coproc::timed_out&) {
        ++aborted;
      }
    }
  };
  for (std::size_t i = 0; i < 6; ++i) net::co_spawn(io, caller(i), net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(right + aborted == 1200);
  CHECK(right >= 900);
}

} // namespace public_thread_bridge
