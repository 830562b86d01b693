// SPDX-License-Identifier: BSL-1.0
// create_task: results, failures, every way to cancel it, tasks that are dropped, destroyed contexts, threads.
#include <coproc/create_task.hpp>

#include <coproc/bounded_channel.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace public_create_task {

namespace net = coproc::net;
using coproc::create_task;
using namespace coproc::testing;

// Not in the unnamed namespace: g++ minds that in frames of coroutines of headers.
struct no_default {
  explicit no_default(int n) : value(std::make_unique<int>(n)) {}
  std::unique_ptr<int> value;
};

namespace {

const net::error_code aborted = net::error::operation_aborted;

/// Ends with what the channel says; a negative number is thrown.
net::awaitable<no_default> number(coproc::bounded_channel<int>& when) {
  const auto n = co_await when.receive();
  if (*n < 0) throw std::out_of_range(std::to_string(*n));
  co_return no_default(*n);
}

net::awaitable<int> record_cancellation(net::cancellation_type& seen) {
  auto state = co_await net::this_coro::cancellation_state;
  try {
    co_await wait_for_ever();
  } catch (const net::system_error&) {
    seen = state.cancelled();
    throw;
  }
  co_return 0;
}

net::awaitable<int> value(int n) {
  co_await let_others_run();
  co_return n;
}

net::awaitable<void> set(bool& what) {
  co_await let_others_run();
  what = true;
}

template <class R>
net::awaitable<std::exception_ptr> error_of(coproc::task<R>& task) {
  try {
    static_cast<void>(co_await std::move(task));
  } catch (...) {
    co_return std::current_exception();
  }
  co_return nullptr;
}

} // namespace

TEST_CASE("create_task starts a coroutine beside the one that goes on, and gives its result") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    bool ran = false;
    auto nothing = create_task(io, set(ran));
    CHECK_FALSE(ran);
    CHECK_FALSE(nothing.done());
    co_await let_others_run();
    co_await let_others_run();
    CHECK(ran);
    CHECK(nothing.done());
    co_await std::move(nothing);
    auto number = create_task(co_await net::this_coro::executor, value(7));
    const auto got_3 = co_await std::move(number);
    CHECK(got_3 == 7);
    coproc::bounded_channel<int> when(io, 1);
    auto late = create_task(io, public_create_task::number(when));
    CHECK(when.try_send(8));
    const no_default result = co_await std::move(late);
    CHECK(*result.value == 8);
    CHECK(when.try_send(-3));
    auto failing = create_task(io, public_create_task::number(when));
    const auto error = co_await error_of(failing);
    CHECK_THROWS_AS(std::rethrow_exception(error), std::out_of_range);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE(
    "a task of a coroutine is cancelled by cancel, by its waiter, and when it is dropped, but not when detached") {
  net::io_context io;
  auto seen = net::cancellation_type::none;
  const auto body = [&]() -> net::awaitable<void> {
    {
      auto task = create_task(io, record_cancellation(seen));
      co_await let_others_run();
      task.cancel(net::cancellation_type::partial);
      const auto error = co_await error_of(task);
      CHECK(coproc::code_of(error) == aborted);
      CHECK(seen == net::cancellation_type::partial);
    }
    {
      auto task = create_task(io, record_cancellation(seen));
      co_await let_others_run();
      net::cancellation_signal signal;
      std::exception_ptr error;
      task.async_wait(net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e, int) { error = e; }));
      co_await let_others_run();
      signal.emit(net::cancellation_type::total);
      while (!error) co_await let_others_run();
      CHECK(coproc::code_of(error) == aborted);
      CHECK(seen == net::cancellation_type::total);
    }
    {
      const auto task = create_task(io, record_cancellation(seen));
      co_await let_others_run();
    }
    while (seen != net::cancellation_type::terminal) co_await let_others_run();
    bool ran = false;
    create_task(io, set(ran)).detach();
    while (!ran) co_await let_others_run();
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("a context that goes first takes task, coroutine and waiter along") {
  std::optional<coproc::task<int>> task;
  auto seen = net::cancellation_type::none;
  int calls = 0;
  {
    net::io_context io;
    task.emplace(create_task(net::make_strand(io), record_cancellation(seen)));
    task->async_wait([&](std::exception_ptr, int) { ++calls; });
    io.poll();
  }
  task->cancel();
  CHECK(task->done());
  CHECK(calls == 0);
  CHECK(seen == net::cancellation_type::none);
}

TEST_CASE("tasks of coroutines on several threads end once each") {
  net::io_context io;
  std::atomic<int> sum = 0, cancelled = 0;
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<coproc::task<int>> tasks;
    auto never = net::cancellation_type::none;
    for (int i = 0; i < 100; ++i) tasks.push_back(create_task(io, value(i)));
    auto waiting = create_task(io, record_cancellation(never));
    for (auto& task : tasks) {
      const int n = co_await std::move(task);
      sum += n;
    }
    waiting.cancel();
    const auto error = co_await error_of(waiting);
    if (coproc::code_of(error) == aborted) ++cancelled;
  };
  for (int i = 0; i < 20; ++i) net::co_spawn(net::make_strand(io), body, net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
  for (std::thread& each : threads) each.join();
  CHECK(sum == 20 * 4950);
  CHECK(cancelled == 20);
}

} // namespace public_create_task
