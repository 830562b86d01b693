// SPDX-License-Identifier: BSL-1.0
// gather: results in order, true concurrency, the first failure, forwarded cancellation, several threads, destruction.
#include <coproc/gather.hpp>

#include <coproc/bounded_channel.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace public_gather {

namespace net = coproc::net;
using coproc::gather;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

struct no_default {
  explicit no_default(int n) : value(n) {}
  int value;
};

net::awaitable<no_default> number(int n) {
  co_await let_others_run();
  co_return no_default(n);
}

net::awaitable<void> nothing() { co_return; }

net::awaitable<std::unique_ptr<int>> pointer(int n) { co_return std::make_unique<int>(n); }

net::awaitable<int> fail(std::string text) {
  co_await let_others_run();
  throw std::runtime_error(text);
}

/// Waits for ever; says with which type it was cancelled.
net::awaitable<void> record_cancellation(cancellation_type& seen) {
  auto state = co_await net::this_coro::cancellation_state;
  try {
    co_await wait_for_ever();
  } catch (const net::system_error& e) {
    CHECK(e.code() == net::error::operation_aborted);
    seen = state.cancelled();
    throw;
  }
}

/// Stands for task<T>: an awaitable whose object cancels when it is destroyed.
template <class T>
class owning_task : public net::awaitable<T> {
public:
  owning_task(net::awaitable<T> a, int& destroyed) : net::awaitable<T>(std::move(a)), destroyed_(&destroyed) {}
  owning_task(owning_task&& other) noexcept
      : net::awaitable<T>(std::move(other)), destroyed_(std::exchange(other.destroyed_, nullptr)) {}
  ~owning_task() {
    if (destroyed_ != nullptr) ++*destroyed_;
  }

private:
  int* destroyed_;
};

net::awaitable<int> see_if_destroyed(int& destroyed) {
  co_await let_others_run();
  co_return destroyed;
}

} // namespace

TEST_CASE("a pack gives a tuple of the results in order, monostate for void") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    auto results = co_await gather(number(1), nothing(), pointer(3), number(4));
    STATIC_REQUIRE(
        std::is_same_v<decltype(results), std::tuple<no_default, std::monostate, std::unique_ptr<int>, no_default>>);
    CHECK(std::get<0>(results).value == 1);
    CHECK(*std::get<2>(results) == 3);
    CHECK(std::get<3>(results).value == 4);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("a range gives a vector of the results in order") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    std::vector<net::awaitable<no_default>> numbers;
    for (int i = 0; i < 10; ++i) numbers.push_back(number(i));
    auto results = co_await gather(std::move(numbers));
    REQUIRE(results.size() == 10);
    for (std::size_t i = 0; i < 10; ++i) CHECK(results[i].value == static_cast<int>(i));

    std::vector<net::awaitable<void>> voids;
    for (int i = 0; i < 3; ++i) voids.push_back(nothing());
    auto nothings = co_await gather(voids);
    STATIC_REQUIRE(std::is_same_v<decltype(nothings), std::vector<std::monostate>>);
    CHECK(nothings.size() == 3);

    auto view = std::views::iota(0, 5) | std::views::transform(pointer);
    auto pointers = co_await gather(view);
    CHECK(*pointers.at(4) == 4);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("an empty pack and an empty range are done at once") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    auto none = co_await gather();
    STATIC_REQUIRE(std::is_same_v<decltype(none), std::tuple<>>);
    std::vector<net::awaitable<int>> empty;
    auto results = co_await gather(std::move(empty));
    CHECK(results.empty());
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("children run at the same time: each can wait for the other") {
  net::io_context io;
  coproc::bounded_channel<int> there(io, 1), back(io, 1);
  const auto ping = [&]() -> net::awaitable<int> {
    for (int i = 0; i < 100; ++i) {
      co_await there.send(i);
      co_await back.receive();
    }
    co_return 1;
  };
  const auto pong = [&]() -> net::awaitable<int> {
    for (int i = 0; i < 100; ++i) {
      auto message = co_await there.receive();
      co_await back.send(*message);
    }
    co_return 2;
  };
  const auto body = [&]() -> net::awaitable<void> {
    auto results = co_await gather(pong(), ping());
    CHECK(results == std::tuple(2, 1));
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("children start when the gather is awaited, not before") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    int started = 0;
    const auto child = [&]() -> net::awaitable<void> {
      ++started;
      co_return;
    };
    auto both = gather(child(), child());
    co_await let_others_run();
    CHECK(started == 0);
    co_await std::move(both);
    CHECK(started == 2);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("the first failure cancels the siblings with terminal, awaits them, and is rethrown") {
  net::io_context io;
  cancellation_type seen = cancellation_type::none;
  bool cleaned_up = false;
  const auto careful = [&]() -> net::awaitable<int> {
    try {
      co_await wait_for_ever();
    } catch (const net::system_error&) {
    }
    co_await net::this_coro::reset_cancellation_state();
    co_await let_others_run();
    cleaned_up = true;
    throw std::logic_error("a later failure");
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await gather(record_cancellation(seen), fail("the first failure"), careful(), number(1));
  };
  const auto error = run_to_end(io, body);
  CHECK(text_of(error) == "the first failure");
  CHECK_THROWS_AS(std::rethrow_exception(error), std::runtime_error);
  CHECK(seen == cancellation_type::terminal);
  CHECK(cleaned_up);
}

TEST_CASE("a child that fails before its first suspension is no exception to that") {
  net::io_context io;
  cancellation_type first = cancellation_type::none, last = cancellation_type::none;
  const auto at_once = []() -> net::awaitable<void> {
    throw std::runtime_error("at once");
    co_return;
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await gather(record_cancellation(first), at_once(), record_cancellation(last));
  };
  CHECK(text_of(run_to_end(io, body)) == "at once");
  CHECK(first == cancellation_type::terminal);
  CHECK(last == cancellation_type::terminal);
}

TEST_CASE("a range of failing children ends with the first failure") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    std::vector<net::awaitable<int>> children;
    for (int i = 0; i < 10; ++i) children.push_back(fail(std::to_string(i)));
    co_await gather(std::move(children));
  };
  CHECK(text_of(run_to_end(io, body)) == "0");
}

TEST_CASE("cancelling the gather forwards the type to every child") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    for (const bool on_strand : {false, true}) {
      net::io_context io;
      net::any_io_executor ex = io.get_executor();
      if (on_strand) ex = net::make_strand(io);
      cancellation_type a = cancellation_type::none, b = cancellation_type::none;
      net::cancellation_signal signal;
      std::exception_ptr error;
      const auto body = [&]() -> net::awaitable<void> {
        co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
        co_await gather(record_cancellation(a), record_cancellation(b));
      };
      net::co_spawn(ex, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
      io.poll();
      CHECK(error == nullptr);
      signal.emit(type);
      io.run();
      CHECK(a == type);
      CHECK(b == type);
      CHECK(coproc::code_of(error) == net::error::operation_aborted);
    }
  }
}

TEST_CASE("a child that heeds a weak cancellation does not bring a strong one upon its siblings") {
  net::io_context io;
  net::cancellation_signal signal;
  cancellation_type seen = cancellation_type::none;
  int effects = 0;
  std::exception_ptr error;
  coproc::bounded_channel<int> go_on(io, 1);
  const auto deaf_to_total = [&]() -> net::awaitable<void> {
    co_await net::this_coro::reset_cancellation_state(net::enable_partial_cancellation());
    co_await go_on.receive();
    ++effects;
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
    co_await gather(record_cancellation(seen), deaf_to_total());
  };
  net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
  io.poll();
  signal.emit(cancellation_type::total);
  io.poll();
  CHECK(seen == cancellation_type::total);
  CHECK(error == nullptr);
  CHECK(go_on.try_send(1));
  io.run();
  CHECK(effects == 1);
  CHECK(coproc::code_of(error) == net::error::operation_aborted);
}

TEST_CASE("a type that the caller does not accept does not reach the children") {
  net::io_context io;
  cancellation_type seen = cancellation_type::none;
  net::cancellation_signal signal;
  net::co_spawn(
      io, [&]() -> net::awaitable<void> { co_await gather(record_cancellation(seen)); },
      net::bind_cancellation_slot(signal.slot(), net::detached));
  io.poll();
  signal.emit(cancellation_type::total);
  io.poll();
  CHECK(seen == cancellation_type::none);
  signal.emit(cancellation_type::terminal);
  io.run();
  CHECK(seen == cancellation_type::terminal);
}

TEST_CASE("a cancelled gather whose children end well ends well") {
  net::io_context io;
  net::cancellation_signal signal;
  std::optional<std::tuple<int, int>> results;
  const auto stubborn = [](int n) -> net::awaitable<int> {
    try {
      co_await wait_for_ever();
    } catch (const net::system_error&) {
    }
    co_return n;
  };
  net::co_spawn(
      io, [&]() -> net::awaitable<void> { results = co_await gather(stubborn(1), stubborn(2)); },
      net::bind_cancellation_slot(signal.slot(), net::detached));
  io.poll();
  signal.emit(cancellation_type::terminal);
  io.run();
  CHECK(results == std::tuple(1, 2));
}

TEST_CASE("an empty gather may be cancelled before it has resumed its parent") {
  net::io_context io(1);
  const auto empties = []() -> net::awaitable<void> {
    for (int i = 0; i < 200; ++i) co_await gather(std::vector<net::awaitable<int>>());
  };
  const auto fails = []() -> net::awaitable<void> {
    co_await let_others_run();
    co_await let_others_run();
    throw std::runtime_error("on purpose");
  };
  bool failed = false;
  const auto parent = [&]() -> net::awaitable<void> {
    auto a = empties();
    auto b = fails();
    try {
      co_await gather(std::move(a), std::move(b));
    } catch (const std::runtime_error&) {
      failed = true;
    }
  };
  net::co_spawn(net::make_strand(io), parent(), net::detached); // one executor for all
  io.run();
  CHECK(failed);
}

TEST_CASE("gathers nest, and a failure deep down cancels everything") {
  net::io_context io;
  cancellation_type near = cancellation_type::none, far = cancellation_type::none;
  const auto inner = [&]() -> net::awaitable<void> { co_await gather(record_cancellation(near), fail("deep down")); };
  const auto body = [&]() -> net::awaitable<void> {
    auto results = co_await gather(gather(number(1), number(2)), gather(number(3)));
    CHECK(std::get<1>(std::get<0>(results)).value == 2);
    co_await gather(inner(), record_cancellation(far));
  };
  CHECK(text_of(run_to_end(io, body)) == "deep down");
  CHECK(near == cancellation_type::terminal);
  CHECK(far == cancellation_type::terminal);
}

TEST_CASE("a task object lives until its coroutine has ended") {
  net::io_context io;
  int destroyed = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto pack = gather(owning_task<int>(see_if_destroyed(destroyed), destroyed), see_if_destroyed(destroyed));
    auto both = co_await std::move(pack);
    CHECK(both == std::tuple(0, 0));
    CHECK(destroyed == 1);

    destroyed = 0;
    std::vector<owning_task<int>> tasks;
    for (int i = 0; i < 3; ++i) tasks.emplace_back(see_if_destroyed(destroyed), destroyed);
    auto range = gather(std::move(tasks));
    tasks.clear();
    auto all = co_await std::move(range);
    CHECK(all == std::vector<int>(3, 0));
    CHECK(destroyed == 3);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("ten thousand children") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    std::vector<net::awaitable<no_default>> children;
    for (int i = 0; i < 10'000; ++i) children.push_back(number(i));
    auto results = co_await gather(std::move(children));
    long sum = 0;
    for (const auto& r : results) sum += r.value;
    CHECK(sum == 49'995'000);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

namespace {

struct count_end {
  explicit count_end(std::atomic<int>& count) : count_(count) {}
  ~count_end() { ++count_; }
  std::atomic<int>& count_;
};

net::awaitable<int> end_somehow(int n, std::atomic<int>& ended) {
  const count_end guard(ended);
  for (int i = 0; i < n % 7; ++i) co_await net::post(net::use_awaitable);
  if (n % 50 == 49) throw std::runtime_error("some fail");
  if (n % 10 == 3) co_await wait_for_ever();
  co_return n;
}

} // namespace

TEST_CASE("children end on several threads at the same time, some of them badly") {
  net::io_context io;
  std::atomic<int> failures = 0, successes = 0, left_behind = 0;
  const auto parent = [&](bool fails) -> net::awaitable<void> {
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> ended = 0;
      std::vector<net::awaitable<int>> children;
      for (int i = 0; i < 60; ++i) children.push_back(end_somehow(fails ? i : i * 10, ended));
      try {
        co_await gather(std::move(children));
        ++successes;
      } catch (const std::runtime_error&) {
        ++failures;
      }
      left_behind += 60 - ended;
    }
  };
  for (int i = 0; i < 4; ++i) net::co_spawn(io, parent(i % 2 == 0), net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(left_behind == 0);
  CHECK(failures == 40);
  CHECK(successes == 40);
}

TEST_CASE("a context destroyed in the middle takes children and parent with it") {
  auto witness = std::make_shared<int>();
  {
    net::io_context io;
    const auto child = [](std::shared_ptr<int>) -> net::awaitable<void> { co_await wait_for_ever(); };
    net::co_spawn(
        io,
        [&, witness]() -> net::awaitable<void> {
          auto local = witness;
          co_await gather(child(witness), gather(child(witness), child(witness)));
          FAIL("resumed");
        },
        net::detached);
    net::co_spawn(
        net::make_strand(io),
        [&, witness]() -> net::awaitable<void> { co_await gather(child(witness), child(witness)); }, net::detached);
    io.poll();
    CHECK(witness.use_count() > 5);
  }
  CHECK(witness.use_count() == 1);
}

} // namespace public_gather
