// SPDX-License-Identifier: BSL-1.0
// map and map_unordered over worker processes: what travels, chunks, failures, lost workers, payloads that are too
// large, streams and pools that go. What is the same on threads is in ../map.test.cpp.
#include "support/run.hpp"

#include <coproc/map.hpp>
#include <coproc/result_view.hpp>
#include <coproc/this_worker.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace process_map {

namespace net = coproc::net;
using namespace coproc::testing;
using coproc::collect;
using coproc::errc;
using std::chrono::milliseconds;

namespace {

/// A vector of these. In braces inside co_await it is too much for g++ 12.
template <class T, class... A>
std::vector<T> list_of(A... items) {
  return {static_cast<T>(items)...};
}

struct board {
  tally started, go, ran, stopped;
};
shared_memory<board> shared;

int twice(int n) { return 2 * n; }
std::size_t length(std::string_view s) { return s.size(); }
std::string repeat(const std::string& s, int n) {
  std::string r;
  for (int i = 0; i < n; ++i) r += s;
  return r;
}
int fail_at_100(int n) {
  if (n == 100) throw std::out_of_range("item 100");
  return 2 * n;
}
int throw_an_int(int n) {
  if (n == 3) throw 7;
  return 2 * n;
}
int die_at_100(int n) {
  if (n == 100) std::abort();
  return 2 * n;
}
int blocker(int) {
  shared->started.add();
  shared->go.await(1);
  return 1;
}
int counted(int n) {
  shared->ran.add();
  return n;
}
std::string long_text(int n) { return std::string(static_cast<std::size_t>(n), 'x'); }

std::vector<int> evens(int n) {
  std::vector<int> v(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) v[static_cast<std::size_t>(i)] = 2 * i;
  return v;
}

template <class T>
struct read {
  std::vector<T> items;
  std::exception_ptr error;

  net::error_code code() const { return coproc::code_of(error); }
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

/// The pool does what it should.
net::awaitable<void> check_usable(coproc::process_pool& pool) {
  const auto got_1 = co_await collect(coproc::map(pool, twice, std::views::iota(0, 100)));
  CHECK(got_1 == evens(100));
}

} // namespace

TEST_CASE("map in processes gives the results in order, whatever the chunks") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 3});
  const auto body = [&]() -> net::awaitable<void> {
    for (const int chunk : {0, 1, 7, 5000})
      for (const int buffer : {0, 1, 10, 5000}) {
        const coproc::map_options options{.chunk_size = chunk, .buffer_size = buffer};
        const auto got_2 = co_await collect(coproc::map(pool, twice, std::views::iota(0, 1000), options));
        CHECK(got_2 == evens(1000));
        auto any = co_await collect(
            coproc::map_unordered(pool.with({.priority = 1}), twice, std::views::iota(0, 1000), options));
        std::ranges::sort(any);
        CHECK(any == evens(1000));
      }
    const auto got_3 = co_await collect(coproc::map(pool, twice, std::views::iota(0, 300'000)));
    CHECK(got_3 == evens(300'000));
  };
  run_coroutine(io, body());
}

TEST_CASE("what travels as an argument or a result does so in a chunk") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto body = [&]() -> net::awaitable<void> {
    const std::vector<std::string> words{"", "a", "bc"};
    const auto got_4 = co_await collect(coproc::map(pool, length, words, {.chunk_size = 2}));
    CHECK(got_4 == list_of<std::size_t>(0, 1, 2));
    const auto got_5 = co_await collect(coproc::map(pool, &std::string::size, words));
    CHECK(got_5 == list_of<std::size_t>(0, 1, 2));
    const std::map<std::string, int> pairs{{"a", 2}, {"b", 3}};
    const auto repeated = list_of<std::string>("aa", "bbb"), doubled = list_of<std::string>("", "aa", "bcbc");
    const auto got_6 = co_await collect(coproc::map(pool, repeat, pairs));
    CHECK(got_6 == repeated);
    int offset = 5;
    const auto add = [offset](int n) { return n + offset; };
    const auto got_7 = co_await collect(coproc::map(pool, add, std::views::iota(0, 3)));
    CHECK(got_7 == list_of<int>(5, 6, 7));
    const auto sum = [](std::span<const double> v) { return std::accumulate(v.begin(), v.end(), 0.0); };
    const std::vector<std::vector<double>> rows{{1, 2}, {}, {3}};
    const auto got_8 = co_await collect(coproc::map(pool, sum, rows, {.chunk_size = 3}));
    CHECK(got_8 == list_of<double>(3, 0, 3));
    const auto negated = [](bool b) { return !b; };
    const auto got_9 = co_await collect(coproc::map(pool, negated, list_of<bool>(true, false), {.chunk_size = 2}));
    CHECK(got_9 == list_of<bool>(false, true));
    const auto nothing = [](int) {};
    const auto got_10 = co_await collect(coproc::map(pool, nothing, std::views::iota(0, 3)));
    CHECK(got_10.size() == 3);
    const auto generic = [](const auto& x) { return x + x; };
    const auto got_11 = co_await collect(coproc::map(pool, generic, words));
    CHECK(got_11 == doubled);
    const auto view = [](int n) {
      coproc::result_array<int> a(100'000);
      std::ranges::fill(a, n);
      return coproc::result_view<int>(std::move(a));
    };
    const auto views = co_await collect(coproc::map(pool, view, std::views::iota(0, 4), {.chunk_size = 2}));
    REQUIRE(views.size() == 4);
    for (int i = 0; i < 4; ++i) CHECK(views[static_cast<std::size_t>(i)][99'999] == i);
  };
  run_coroutine(io, body());
}

TEST_CASE(
    "what an item throws comes after the results before it, its own chunk's included, and the rest is cancelled") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto body = [&]() -> net::awaitable<void> {
    for (const int chunk : {0, 1, 64, 1000}) {
      const auto r = co_await read_all(coproc::map(pool, fail_at_100, std::views::iota(0), {.chunk_size = chunk}));
      CHECK(r.items == evens(100));
      CHECK_THROWS_AS(std::rethrow_exception(r.error), std::out_of_range);
      CHECK_THROWS_WITH(std::rethrow_exception(r.error), "item 100");
      const auto any =
          co_await read_all(coproc::map_unordered(pool, throw_an_int, std::views::iota(0), {.chunk_size = chunk}));
      CHECK_THROWS_AS(std::rethrow_exception(any.error), coproc::remote_exception);
    }
    co_await check_usable(pool);
  };
  run_coroutine(io, body());
}

TEST_CASE("a worker that dies ends the stream with worker_lost, after the results of the calls before") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto body = [&]() -> net::awaitable<void> {
    auto r = co_await read_all(coproc::map(pool, die_at_100, std::views::iota(0), {.chunk_size = 1}));
    CHECK(r.items == evens(100));
    CHECK(r.code() == errc::worker_lost);
    r = co_await read_all(coproc::map(pool, die_at_100, std::views::iota(0), {.chunk_size = 8}));
    CHECK(r.items == evens(96));
    CHECK(r.code() == errc::worker_lost);
    co_await check_usable(pool);
  };
  run_coroutine(io, body());
}

TEST_CASE("an item over max_payload, as argument or as result, is payload_too_large; many that are not are no error") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2, .max_payload = 100'000});
  const auto body = [&]() -> net::awaitable<void> {
    const std::vector<std::size_t> lengths(100, 30'000);
    for (const int chunk : {0, 1, 50}) {
      const coproc::map_options options{.chunk_size = chunk};
      const std::vector<std::string> texts(100, std::string(30'000, 'x'));
      const auto got_12 = co_await collect(coproc::map(pool, length, texts, options));
      CHECK(got_12 == lengths);
      const std::vector<int> wanted(100, 30'000);
      std::vector<std::size_t> got;
      const auto made = co_await collect(coproc::map(pool, long_text, wanted, options));
      for (const std::string& s : made) got.push_back(s.size());
      CHECK(got == lengths);

      const std::vector<std::string> one_too_long{"a", "bc", std::string(100'001, 'x'), "d"};
      const auto arguments = co_await read_all(coproc::map(pool, length, one_too_long, options));
      CHECK(arguments.items == std::vector<std::size_t>{1, 2});
      CHECK(arguments.code() == errc::payload_too_large);
      const auto results = co_await read_all(coproc::map(pool, long_text, list_of<int>(1, 200'000), {.chunk_size = 1}));
      CHECK(results.items == list_of<std::string>("x"));
      CHECK(results.code() == errc::payload_too_large);
    }
    co_await check_usable(pool);
  };
  run_coroutine(io, body());
}

TEST_CASE("a range that throws, and options that are refused, leave the pool as it was") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto body = [&]() -> net::awaitable<void> {
    const auto bad = std::views::iota(0) | std::views::transform([](int n) {
                       if (n == 10) throw std::runtime_error("bad line");
                       return n;
                     });
    const auto r = co_await read_all(coproc::map(pool, twice, bad));
    CHECK(r.items == evens(10));
    CHECK_THROWS_WITH(std::rethrow_exception(r.error), "bad line");
    CHECK_THROWS_AS(coproc::map(pool, twice, bad, {.chunk_size = -1}), std::invalid_argument);
    CHECK_THROWS_AS(coproc::map(pool, twice, bad, {.buffer_size = -1}), std::invalid_argument);
    co_await check_usable(pool);
  };
  run_coroutine(io, body());
}

TEST_CASE("a reader that goes kills what runs and withdraws what waits") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  {
    auto s = coproc::map(pool, blocker, std::views::iota(0), {.chunk_size = 1});
    REQUIRE(shared->started.await(2));
  }
  REQUIRE(run_all(io));
  CHECK(shared->started.get() == 2);
  run_coroutine(io, check_usable(pool));
}

TEST_CASE("the time-out of map kills what runs") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 2});
  const auto body = [&]() -> net::awaitable<void> {
    const auto r = co_await read_all(coproc::map(pool, blocker, std::views::iota(0), {.timeout = milliseconds(50)}));
    CHECK(r.items.empty());
    CHECK(r.code() == errc::timed_out);
    co_await check_usable(pool);
  };
  run_coroutine(io, body());
}

TEST_CASE("the pool may go before the stream: what is there comes, then operation_aborted") {
  const leak_audit audit;
  shared.reset();
  net::io_context io(1);
  std::optional<coproc::process_pool> pool(std::in_place, io, coproc::pool_options{.max_workers = 2});
  auto s = coproc::map(*pool, blocker, std::views::iota(0), {.chunk_size = 1});
  REQUIRE(shared->started.await(2));
  pool.reset();
  const auto body = [&]() -> net::awaitable<void> {
    const auto r = co_await read_all(std::move(s));
    CHECK(r.items.empty());
    CHECK(r.code() == net::error::operation_aborted);
  };
  run_coroutine(io, body());
}

TEST_CASE("the context may go before the stream") {
  const leak_audit audit;
  shared.reset();
  std::optional<net::io_context> io(std::in_place, 1);
  std::optional<coproc::process_pool> pool(std::in_place, *io, coproc::pool_options{.max_workers = 2});
  auto s = coproc::map(*pool, blocker, std::views::iota(0), {.chunk_size = 1});
  int calls = 0;
  s.async_next([&](std::exception_ptr, std::optional<int>) { ++calls; });
  REQUIRE(shared->started.await(2));
  io->poll();
  io.reset();
  s.async_next([&](std::exception_ptr, std::optional<int>) { ++calls; });
  CHECK(calls == 0);
}

TEST_CASE("a function that is in no worker is refused before anything is sent") {
  const leak_audit audit;
  net::io_context io(1);
  coproc::process_pool pool(io, {.max_workers = 1});
  void* const library = ::dlopen(COPROC_TEST_LIBRARY_DIR "/late.so", RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  using function = int (*)(int);
  const auto late = reinterpret_cast<function>(::dlsym(library, "late_function"));
  REQUIRE(late != nullptr);
  const auto body = [&]() -> net::awaitable<void> {
    const auto r = co_await read_all(coproc::map(pool, late, std::views::iota(0, 3)));
    CHECK(r.items.empty());
    CHECK(r.code() == errc::unknown_function);
    co_await check_usable(pool);
  };
  run_coroutine(io, body());
  ::dlclose(library);
}

TEST_CASE("maps over processes make a pipeline, on several threads too") {
  const leak_audit audit;
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 2});
  std::atomic<int> right = 0;
  const auto body = [&](int n) -> net::awaitable<void> {
    auto inner = coproc::map(pool, counted, std::views::iota(0, n), {.chunk_size = 3});
    const auto all = co_await collect(coproc::map(pool, twice, std::move(inner)));
    if (all == evens(n)) ++right;
  };
  for (int i = 0; i < 20; ++i) net::co_spawn(net::make_strand(io), body(50 * i), net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
  for (std::thread& each : threads) each.join();
  CHECK(right == 20);
}

} // namespace process_map
