// SPDX-License-Identifier: BSL-1.0
// map and map_unordered on threads: ranges of every kind, order, look-ahead, failures, time-outs, cancelled readers,
// readers that go. What is particular to processes is in process/map.test.cpp.
#include <coproc/map.hpp>

#include <coproc/this_worker.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <limits>
#include <list>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace public_map {

namespace net = coproc::net;
using coproc::collect;
using coproc::make_stream;
using coproc::map;
using coproc::map_unordered;
using coproc::yielder;
using namespace coproc::testing;
using std::chrono::milliseconds;

namespace {

/// A vector of these. In braces inside co_await it is too much for g++ 12.
template <class T, class... A>
std::vector<T> list_of(A... items) {
  return {static_cast<T>(items)...};
}

int twice(int n) { return 2 * n; }

template <class Body>
std::exception_ptr run_to_end(Body body) {
  net::io_context io;
  return coproc::testing::run_to_end(io, std::move(body));
}

/// What a stream gave, and what it failed with.
template <class T>
struct read {
  std::vector<T> items;
  std::exception_ptr error;
};

template <class T>
net::awaitable<read<T>> read_all(coproc::stream<T> s) {
  read<T> r;
  try {
    while (auto x = co_await s.next()) r.items.push_back(static_cast<T>(std::move(*x)));
  } catch (...) {
    r.error = std::current_exception();
  }
  const auto end = co_await s.next(); // an error comes once
  CHECK_FALSE(end);
  co_return r;
}

std::vector<int> evens(int n) {
  std::vector<int> v(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) v[static_cast<std::size_t>(i)] = 2 * i;
  return v;
}

} // namespace

TEST_CASE("map gives the results in order, of any input range, whatever the chunks") {
  net::thread_pool threads(3);
  const auto body = [&]() -> net::awaitable<void> {
    const std::vector<int> named = [] {
      std::vector<int> v(1000);
      std::iota(v.begin(), v.end(), 0);
      return v;
    }();
    for (const int chunk : {0, 1, 7, 5000})
      for (const int buffer : {0, 1, 10, 5000}) {
        const coproc::map_options options{.chunk_size = chunk, .buffer_size = buffer};
        const auto got_1 = co_await collect(map(threads, twice, named, options));
        CHECK(got_1 == evens(1000));
        auto any = co_await collect(map_unordered(threads.get_executor(), twice, std::views::iota(0, 1000), options));
        std::ranges::sort(any);
        CHECK(any == evens(1000));
      }
    const auto got_2 = co_await collect(map(threads, twice, std::views::iota(0, 0)));
    CHECK(got_2.empty());
    std::list<int> list{0, 1, 2};
    const auto got_3 = co_await collect(map(threads, twice, list));
    CHECK(got_3 == evens(3));
    const auto got_4 = co_await collect(map(threads, twice, list | std::views::filter([](int n) { return n != 1; })));
    CHECK(got_4 == list_of<int>(0, 4));
    std::istringstream text("0 1 2 3");
    const auto from_text =
        co_await collect(map(threads, twice, std::views::istream<int>(text))); // single-pass, move-only
    CHECK(from_text == evens(4));
    const std::vector<bool> bits{true, false, true};
    const auto got_5 = co_await collect(map(threads, [](bool b) { return !b; }, bits));
    CHECK(got_5 == list_of<bool>(false, true, false));
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("an lvalue is viewed, what is given away is moved from") {
  net::thread_pool threads(2);
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<int> named{1, 2, 3};
    auto s = map(threads, twice, named, {.chunk_size = 1, .buffer_size = 1});
    const auto got_6 = co_await s.next();
    CHECK(got_6 == 2);
    named[1] = 20; // not taken yet
    const auto got_7 = co_await s.next();
    CHECK(got_7 == 40);
    std::vector<std::unique_ptr<int>> pointers;
    for (int i = 0; i < 10; ++i) pointers.push_back(std::make_unique<int>(i));
    const auto raised = [](std::unique_ptr<int> p) {
      ++*p;
      return p;
    };
    const auto all = co_await collect(map(threads, raised, std::move(pointers)));
    REQUIRE(all.size() == 10);
    CHECK(*all[9] == 10);
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("a tuple is applied if the function takes its parts, and passed if it takes it") {
  net::thread_pool threads(2);
  const auto body = [&]() -> net::awaitable<void> {
    const std::vector<std::pair<int, std::string>> pairs{{1, "a"}, {2, "b"}};
    const auto parts = [](int n, const std::string& s) { return s + std::to_string(n); };
    const auto whole = [](const std::pair<int, std::string>& p) { return p.second; };
    const auto joined = list_of<std::string>("a1", "b2"), seconds = list_of<std::string>("a", "b");
    const auto got_8 = co_await collect(map(threads, parts, pairs));
    CHECK(got_8 == joined);
    const auto got_9 = co_await collect(map(threads, whole, pairs));
    CHECK(got_9 == seconds);
    std::vector<std::tuple<int>> ones{{1}, {2}};
    const auto got_10 = co_await collect(map(threads, twice, ones));
    CHECK(got_10 == list_of<int>(2, 4));
    const auto got_11 = co_await collect(map(threads, &std::string::size, joined));
    CHECK(got_11 == list_of<std::size_t>(2, 2));
    std::atomic<int> sum = 0;
    const auto nothings = co_await collect(map(threads, [&sum](int n) { sum += n; }, list_of<int>(1, 2, 3)));
    STATIC_REQUIRE(std::is_same_v<decltype(nothings), const std::vector<std::monostate>>);
    CHECK(nothings.size() == 3);
    CHECK(sum == 6);
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("no more elements are taken than the look-ahead says, of an infinite range, too") {
  net::thread_pool threads(2);
  const auto body = [&]() -> net::awaitable<void> {
    int taken = 0;
    const auto counted = std::views::iota(0) | std::views::transform([&taken](int n) {
                           ++taken;
                           return n;
                         });
    {
      auto s = map(threads, twice, counted, {.chunk_size = 3, .buffer_size = 10});
      CHECK(taken == 10);
      for (int i = 0; i < 100; ++i) {
        const auto got_12 = co_await s.next();
        CHECK(got_12 == 2 * i);
        CHECK(taken <= i + 1 + 10);
      }
    }
    taken = 0;
    auto s = map(threads, twice, counted);
    for (int i = 0; i < 1000; ++i) {
      const auto got = co_await s.next();
      CHECK(got == 2 * i);
    }
    CHECK(taken > 0);
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("a stream is mapped as its items come, and maps make pipelines") {
  net::thread_pool threads(2);
  const auto body = [&]() -> net::awaitable<void> {
    const auto ex = co_await net::this_coro::executor;
    bool go = false;
    auto slow = make_stream<int>(ex, [&go](yielder<int>& out) -> net::awaitable<void> {
      co_await out.yield(0);
      co_await out.yield(1);
      while (!go) co_await let_others_run(); // the first results do not wait for a chunk to be full
      co_await out.yield(2);
    });
    auto s = map(threads, twice, std::move(slow), {.chunk_size = 100});
    const auto got_14 = co_await s.next();
    CHECK(got_14 == 0);
    const auto got_15 = co_await s.next();
    CHECK(got_15 == 2);
    go = true;
    const auto got_16 = co_await s.next();
    CHECK(got_16 == 4);
    const auto got_17 = co_await s.next();
    CHECK_FALSE(got_17);
    auto third = map(threads, twice,
                     map(threads, twice, map_unordered(threads, twice, std::views::iota(0, 1000), {.chunk_size = 10})));
    auto all = co_await collect(std::move(third));
    std::ranges::sort(all);
    REQUIRE(all.size() == 1000);
    CHECK(all.back() == 8 * 999);
    auto failing = make_stream<int>(ex, [](yielder<int>& out) -> net::awaitable<void> {
      co_await out.yield(0);
      throw std::runtime_error("no more input");
    });
    const auto r = co_await read_all(map(threads, twice, std::move(failing)));
    CHECK(r.items == std::vector<int>{0});
    CHECK(text_of(r.error) == "no more input");
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("a range that throws ends the stream after the results of all elements before") {
  net::thread_pool threads(2);
  const auto body = [&]() -> net::awaitable<void> {
    for (const int chunk : {0, 1, 4, 1000}) {
      const auto bad = std::views::iota(0) | std::views::transform([](int n) {
                         if (n == 10) throw std::runtime_error("bad line");
                         return n;
                       });
      const auto r = co_await read_all(map(threads, twice, bad, {.chunk_size = chunk}));
      CHECK(r.items == evens(10));
      CHECK(text_of(r.error) == "bad line");
      auto any = co_await read_all(map_unordered(threads, twice, bad, {.chunk_size = chunk}));
      std::ranges::sort(any.items);
      CHECK(any.items == evens(10));
      CHECK(text_of(any.error) == "bad line");
    }
    const auto got_18 = co_await collect(map(threads, twice, std::views::iota(0, 3)));
    CHECK(got_18 == evens(3));
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("the first failure in order comes after the results before it, and the rest is cancelled") {
  net::thread_pool threads(2);
  const auto body = [&]() -> net::awaitable<void> {
    for (const int chunk : {0, 1, 4, 1000}) {
      std::atomic<int> calls = 0;
      const auto fail = [&calls](int n) {
        ++calls;
        if (n >= 100) throw std::out_of_range("item " + std::to_string(n));
        return 2 * n;
      };
      const auto r = co_await read_all(map(threads, fail, std::views::iota(0), {.chunk_size = chunk}));
      CHECK(r.items == evens(100));
      CHECK(text_of(r.error) == "item 100");
      const auto any = co_await read_all(map_unordered(threads, fail, std::views::iota(0), {.chunk_size = chunk}));
      const std::string first = text_of(any.error); // of those that fail: which one is for the threads to decide
      REQUIRE(first.starts_with("item "));
      CHECK(std::stoi(first.substr(5)) >= 100);
      CHECK(any.items.size() <= 100);
    }
  };
  CHECK(run_to_end(body) == nullptr);
}

TEST_CASE("options out of range are refused by the call") {
  net::thread_pool threads(1);
  const std::vector<int> none;
  CHECK_THROWS_WITH(map(threads, twice, none, {.chunk_size = -1}), Catch::Contains("chunk_size must not be negative"));
  CHECK_THROWS_WITH(map_unordered(threads, twice, none, {.buffer_size = std::numeric_limits<long long>::min()}),
                    Catch::Contains("buffer_size must not be negative"));
  CHECK_THROWS_WITH(map(threads, twice, none, {.timeout = milliseconds(0)}),
                    Catch::Contains("timeout must be positive"));
  CHECK_THROWS_AS(map(threads, twice, none, {.timeout = milliseconds(-1)}), std::invalid_argument);
}

TEST_CASE("the time-out is total: results that are there come, then timed_out, and what runs is stopped") {
  net::thread_pool threads(2);
  std::atomic<int> stopped = 0, started = 0;
  const auto hang = [&](int n) {
    if (n < 5) return 2 * n;
    ++started;
    while (!coproc::this_worker::stop_requested()) std::this_thread::yield();
    ++stopped;
    return -1;
  };
  const auto body = [&]() -> net::awaitable<void> {
    auto r = co_await read_all(map(threads, hang, std::views::iota(0), {.chunk_size = 1, .timeout = milliseconds(50)}));
    CHECK(r.items == evens(5));
    CHECK(coproc::code_of(r.error) == coproc::errc::timed_out);
    r = co_await read_all(
        map_unordered(threads, hang, std::views::iota(0), {.chunk_size = 1, .timeout = milliseconds(50)}));
    CHECK(r.items.size() == 5);
    CHECK(coproc::code_of(r.error) == coproc::errc::timed_out);
    // Within the time, everything.
    const auto got_19 =
        co_await collect(map(threads, twice, std::views::iota(0, 3), {.timeout = std::chrono::hours(1)}));
    CHECK(got_19 == evens(3));
    const auto got_20 = co_await collect(
        map(threads, twice, std::views::iota(0, 3), {.timeout = coproc::duration::max() - coproc::duration(1)}));
    CHECK(got_20 == evens(3));
    // A source that has nothing to give.
    const auto never = [](yielder<int>&) -> net::awaitable<void> { co_await wait_for_ever(); };
    r = co_await read_all(
        map(threads, twice, make_stream<int>(co_await net::this_coro::executor, never), {.timeout = milliseconds(20)}));
    CHECK(coproc::code_of(r.error) == coproc::errc::timed_out);
  };
  CHECK(run_to_end(body) == nullptr);
  threads.join();
  CHECK(started >= 2);
  CHECK(stopped == started);
}

TEST_CASE("cancelling next loses nothing, and a reader that goes stops the work") {
  net::thread_pool threads(2);
  std::atomic<bool> go = false;
  std::atomic<int> started = 0, ended = 0;
  const auto wait_for_go = [&](int n) {
    if (n == 0)
      while (!go) std::this_thread::yield();
    return 2 * n;
  };
  const auto until_stopped = [&](int) {
    ++started;
    started.notify_all();
    while (!coproc::this_worker::stop_requested()) std::this_thread::yield();
    ++ended;
  };
  const auto body = [&]() -> net::awaitable<void> {
    auto s = map(threads, wait_for_go, std::views::iota(0, 20), {.chunk_size = 3});
    std::exception_ptr first;
    net::cancellation_signal signal;
    s.async_next(net::bind_cancellation_slot(
        signal.slot(), net::bind_executor(co_await net::this_coro::executor,
                                          [&](std::exception_ptr e, std::optional<int>) { first = e; })));
    co_await let_others_run();
    signal.emit(net::cancellation_type::total);
    while (!first) co_await let_others_run();
    CHECK(coproc::code_of(first) == net::error::operation_aborted);
    go = true;
    const auto got_21 = co_await collect(std::move(s));
    CHECK(got_21 == evens(20));
    {
      auto endless = map(threads, until_stopped, std::views::iota(0), {.chunk_size = 1});
      started.wait(0);
    }
  };
  CHECK(run_to_end(body) == nullptr);
  threads.join();
  CHECK(ended == started);
  CHECK(started <= 2);
}

TEST_CASE("items that take longer than was learned are given to other threads") {
  net::thread_pool threads(2);
  std::set<std::thread::id> slow_ran_on;
  std::mutex mutex;
  const auto body = [&]() -> net::awaitable<void> {
    const auto f = [&](int n) {
      if (n >= 100'000) {
        const auto until = std::chrono::steady_clock::now() + milliseconds(1);
        while (std::chrono::steady_clock::now() < until) std::this_thread::yield();
        std::lock_guard lock(mutex);
        slow_ran_on.insert(std::this_thread::get_id());
      }
      return 2 * n;
    };
    const auto got_22 = co_await collect(map(threads, f, std::views::iota(0, 100'200)));
    CHECK(got_22 == evens(100'200));
  };
  CHECK(run_to_end(body) == nullptr);
  CHECK(slow_ran_on.size() == 2);
}

TEST_CASE("several streams at once, read by several threads") {
  net::thread_pool threads(2);
  net::io_context io;
  std::atomic<int> right = 0;
  const auto body = [&](int n) -> net::awaitable<void> {
    const auto all = co_await collect(map(threads, twice, std::views::iota(0, n), {.chunk_size = 1 + n % 5}));
    if (all == evens(n)) ++right;
  };
  for (int i = 0; i < 100; ++i) net::co_spawn(net::make_strand(io), body(20 * i), net::detached);
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) readers.emplace_back([&] { io.run(); });
  for (std::thread& each : readers) each.join();
  CHECK(right == 100);
}

} // namespace public_map
