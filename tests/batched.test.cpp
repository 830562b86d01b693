// SPDX-License-Identifier: BSL-1.0
// batched: few calls for many items, on threads and in processes; errors of one and of all; bad functions; cancellation
// in every state; pressure; destruction.
#include <coproc/batched.hpp>

#include <coproc/gather.hpp>
#include <coproc/process_pool.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <latch>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace public_batched {

namespace net = coproc::net;
using coproc::batched;
using coproc::failed_item;
using net::cancellation_type;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

struct ending {
  int calls = 0;
  std::exception_ptr error;
  int value = 0;

  auto handler() {
    return [this](std::exception_ptr e, int v) {
      ++calls;
      error = std::move(e);
      value = v;
    };
  }
  bool aborted() const { return calls == 1 && coproc::code_of(error) == net::error::operation_aborted; }
  std::string text() const {
    if (!error) return {};
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& e) {
      return e.what();
    }
  }
};

void run(net::io_context& io) {
  io.restart();
  io.run();
}

std::vector<int> squares(std::span<const int> items) {
  std::vector<int> results;
  for (const int i : items) results.push_back(i * i);
  return results;
}

std::vector<std::variant<int, failed_item>> odd_fail(std::span<const int> items) {
  std::vector<std::variant<int, failed_item>> results;
  for (const int i : items)
    if (i % 2 == 0)
      results.emplace_back(i);
    else
      results.emplace_back(failed_item{"odd: " + std::to_string(i)});
  return results;
}

std::vector<int> throws(std::span<const int>) { throw std::domain_error("all"); }
std::vector<int> one_too_few(std::span<const int> items) { return std::vector<int>(items.size() - 1); }

/// Batches wait on a gate, and are counted. Of threads, which share it.
struct gate {
  std::atomic<int> batches{0}, items{0};
  std::latch open{1};

  auto function() {
    return [this](std::span<const int> in) {
      ++batches;
      items += static_cast<int>(in.size());
      open.wait();
      return squares(in);
    };
  }
};

template <class B>
void three_items_each_way(net::io_context& io, const B& b) {
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<net::awaitable<int>> calls;
    for (int i = 0; i < 100; ++i) calls.push_back(b(i));
    const auto results = co_await coproc::gather(std::move(calls));
    for (std::size_t i = 0; i < 100; ++i) CHECK(results[i] == static_cast<int>(i * i));
  };
  std::exception_ptr error;
  net::co_spawn(io, body, [&](std::exception_ptr e) { error = e; });
  run(io);
  CHECK_FALSE(error);
}

} // namespace

TEST_CASE("items are gathered, and each gets its result: over a process pool, a pool_ref, threads, an executor") {
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  net::thread_pool threads(2);
  three_items_each_way(io, batched(pool, squares, {.max_batch = 7}));
  three_items_each_way(io, batched(pool.with({.timeout = 60s}), squares));
  three_items_each_way(io, batched(threads, squares, {.max_batch = 1, .max_delay = 0ns}));
  three_items_each_way(io, batched(threads.get_executor(), squares, {.max_batch = 100, .max_delay = 1h}));
}

TEST_CASE("items that are no plain bytes travel to processes, too") {
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  const auto b = batched(pool, [](std::span<const std::string> texts) {
    std::vector<std::string> results;
    for (const auto& t : texts) results.push_back(t + "!");
    return results;
  });
  std::string result;
  const auto body = [&]() -> net::awaitable<void> { result = co_await b("a text that is not short at all"); };
  net::co_spawn(io, body, net::detached);
  run(io);
  CHECK(result == "a text that is not short at all!");
}

TEST_CASE("a batch is as large as allowed, and goes when it is full or its time has come") {
  net::io_context io;
  net::thread_pool threads(4);
  gate g;
  const auto b = batched(threads, g.function(), {.max_batch = 4, .max_delay = 20ms});
  std::vector<ending> e(10);
  for (int i = 0; i < 10; ++i) net::co_spawn(io, b(i), e[static_cast<std::size_t>(i)].handler());
  io.poll();
  while (g.batches < 2) std::this_thread::yield(); // the full ones do not wait for the time
  g.open.count_down();
  run(io);
  CHECK(g.batches == 3);
  CHECK(g.items == 10);
  for (int i = 0; i < 10; ++i) CHECK(e[static_cast<std::size_t>(i)].value == i * i);
}

TEST_CASE("one item fails, the others do not; in a process, too") {
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  net::thread_pool threads(1);
  const auto check = [&](const auto& b) {
    std::vector<ending> e(4);
    for (int i = 0; i < 4; ++i) net::co_spawn(io, b(i), e[static_cast<std::size_t>(i)].handler());
    run(io);
    CHECK(e[0].text() == "");
    CHECK(e[1].text() == "odd: 1");
    CHECK(e[2].value == 2);
    CHECK(e[3].text() == "odd: 3");
  };
  check(batched(threads, odd_fail));
  check(batched(pool, odd_fail));
}

TEST_CASE("a function that throws, or returns too few results, fails all of its batch and no other") {
  net::io_context io;
  net::thread_pool threads(1);
  const auto check = [&](const auto& b, const std::string& text) {
    std::vector<ending> e(3);
    for (auto& each : e) net::co_spawn(io, b(1), each.handler());
    run(io);
    for (auto& each : e) {
      CHECK(each.calls == 1);
      CHECK(each.text() == text);
    }
  };
  check(batched(threads, throws), "all");
  check(batched(threads, one_too_few), "coproc: batched: the function returned 2 results for 3 items");
}

TEST_CASE("a negative number is an error that names it") {
  net::thread_pool threads(1);
  CHECK_THROWS_WITH(batched(threads, squares, {.max_batch = -1}), "coproc: batched: max_batch must not be negative");
  CHECK_THROWS_WITH(batched(threads, squares, {.max_delay = -1ns}), "coproc: batched: max_delay must not be negative");
  CHECK_THROWS_WITH(batched(threads, squares, {.max_queue = -1}), "coproc: batched: max_queue must not be negative");
}

TEST_CASE("one item is cancelled, while it is gathered and while it is worked on: the others get their results") {
  for (const auto type : {cancellation_type::terminal, cancellation_type::all}) {
    for (const bool working : {false, true}) {
      net::io_context io;
      net::thread_pool threads(1);
      gate g;
      const auto b = batched(threads, g.function(), {.max_batch = working ? 3 : 4, .max_delay = 5ms});
      std::vector<ending> e(3);
      net::cancellation_signal signal;
      net::co_spawn(io, b(2), e[0].handler());
      net::co_spawn(io, b(3), net::bind_cancellation_slot(signal.slot(), e[1].handler()));
      net::co_spawn(io, b(4), e[2].handler());
      io.poll();
      if (working)
        while (g.batches == 0) std::this_thread::yield();
      signal.emit(type);
      io.restart();
      while (e[1].calls == 0) io.poll_one(), io.restart();
      CHECK(e[1].aborted());
      CHECK(e[0].calls == 0);
      g.open.count_down();
      run(io);
      CHECK(e[0].value == 4);
      CHECK(e[2].value == 16);
      CHECK(g.items == (working ? 3 : 2));
    }
  }
}

TEST_CASE("a batch whose items are all cancelled is cancelled itself") {
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1, .kill_grace = 10ms});
  const auto b = batched(pool,
                         [](std::span<const int> in) {
                           for (;;) std::this_thread::sleep_for(1h);
                           return std::vector<int>(in.size());
                         },
                         {.max_batch = 2});
  std::vector<ending> e(2);
  net::cancellation_signal signals[2];
  for (std::size_t i = 0; i < 2; ++i)
    net::co_spawn(io, b(1), net::bind_cancellation_slot(signals[i].slot(), e[i].handler()));
  io.poll();
  while (pool.stats().active == 0) io.poll_one(), io.restart();
  for (auto& s : signals) s.emit(cancellation_type::terminal);
  run(io); // ends, because the worker is killed
  CHECK(e[0].aborted());
  CHECK(e[1].aborted());
}

TEST_CASE("beyond max_queue a call waits for room, in order; one that is cancelled there leaves the line") {
  net::io_context io;
  net::thread_pool threads(4);
  gate g;
  const auto b = batched(threads, g.function(), {.max_batch = 1, .max_queue = 2});
  std::vector<ending> e(5);
  net::cancellation_signal signal;
  for (std::size_t i = 0; i < 5; ++i)
    net::co_spawn(io, b(static_cast<int>(i)),
                  net::bind_cancellation_slot(i == 2 ? signal.slot() : net::cancellation_slot(), e[i].handler()));
  io.poll();
  while (g.batches < 2) std::this_thread::yield();
  io.restart();
  io.poll();
  CHECK(g.batches == 2);
  signal.emit(cancellation_type::terminal);
  g.open.count_down();
  run(io);
  CHECK(e[2].aborted());
  for (const std::size_t i : {0u, 1u, 3u, 4u}) CHECK(e[i].value == static_cast<int>(i * i));
  CHECK(g.batches == 4);
}

TEST_CASE("several threads call one batcher, and none is lost") {
  net::io_context io;
  net::thread_pool threads(2);
  const auto b = batched(threads, squares, {.max_batch = 8, .max_delay = 0ns, .max_queue = 32});
  std::atomic<int> right = 0;
  const auto caller = [&](int n) -> net::awaitable<void> {
    for (int i = 0; i < 200; ++i) {
      const int result = co_await b(n * i);
      right += result == n * i * n * i;
    }
  };
  for (int n = 0; n < 16; ++n) net::co_spawn(net::make_strand(io), caller(n), net::detached);
  std::vector<std::thread> loops;
  for (int i = 0; i < 3; ++i) loops.emplace_back([&] { io.run(); });
  for (auto& t : loops) t.join();
  CHECK(right == 16 * 200);
}

namespace {

template <class B>
net::awaitable<void> call_and_keep(const B& b, std::shared_ptr<int>) {
  co_await b(1);
}

} // namespace

TEST_CASE("the context of calls goes first, while they wait for room, are gathered, and are worked on") {
  net::thread_pool threads(2);
  gate g;
  const auto b = batched(threads, g.function(), {.max_batch = 2, .max_delay = 1h, .max_queue = 5});
  const auto witness = std::make_shared<int>();
  {
    net::io_context io;
    for (int i = 0; i < 20'000; ++i) net::co_spawn(io, call_and_keep(b, witness), net::detached);
    io.poll();
    while (g.batches < 2) std::this_thread::yield();
    CHECK(witness.use_count() == 20'001);
  }
  CHECK(witness.use_count() == 1);
  g.open.count_down();
  net::io_context io; // there is room again
  ending one, other;
  net::co_spawn(io, b(3), one.handler());
  net::co_spawn(io, b(4), other.handler());
  io.run();
  CHECK(one.value == 9);
  CHECK(other.value == 16);
}

TEST_CASE("a batch whose opener's context goes fails for the others") {
  net::io_context io;
  std::optional<net::io_context> opener(std::in_place);
  net::thread_pool threads(1);
  const auto b = batched(threads, squares, {.max_delay = 1h});
  ending one, other;
  net::co_spawn(*opener, b(1), one.handler());
  opener->poll();
  net::co_spawn(io, b(2), other.handler());
  io.poll();
  opener.reset();
  run(io);
  CHECK(one.calls == 0);
  CHECK(other.aborted());
}

} // namespace public_batched
