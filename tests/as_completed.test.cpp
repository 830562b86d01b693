// SPDX-License-Identifier: BSL-1.0
// as_completed: order of the ends, failures, cancelled readers, streams that go, tasks.
#include <coproc/as_completed.hpp>

#include <coproc/bounded_channel.hpp>
#include <coproc/create_task.hpp>

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

namespace public_as_completed {

namespace net = coproc::net;
using coproc::as_completed;
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

} // namespace

TEST_CASE("ends come in the order in which they happen, each with its index, failures too") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<std::unique_ptr<coproc::bounded_channel<int>>> when;
    std::vector<net::awaitable<no_default>> children;
    for (int i = 0; i < 3; ++i) {
      when.push_back(std::make_unique<coproc::bounded_channel<int>>(io, 1));
      children.push_back(number(*when.back()));
    }
    auto s = as_completed(std::move(children));
    CHECK(when[2]->try_send(20));
    auto one = co_await s.next();
    REQUIRE(one);
    CHECK(one->index == 2);
    CHECK(*one->get().value == 20);
    CHECK(when[0]->try_send(-1));
    one = co_await s.next();
    REQUIRE(one);
    CHECK(one->index == 0);
    CHECK_THROWS_AS(one->get(), std::out_of_range);
    CHECK(when[1]->try_send(10)); // a failure cancels nobody
    one = co_await s.next();
    REQUIRE(one);
    CHECK(one->index == 1);
    CHECK(*one->get().value == 10);
    const auto got_1 = co_await s.next();
    CHECK_FALSE(got_1);
    auto none = as_completed(std::vector<net::awaitable<int>>());
    const auto got_2 = co_await none.next();
    CHECK_FALSE(got_2);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("children of a stream that goes are cancelled, those of a cancelled next are not") {
  net::io_context io;
  auto seen = net::cancellation_type::none;
  bool ended = false;
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<net::awaitable<int>> children;
    children.push_back(record_cancellation(seen));
    children.push_back(value(5));
    auto s = as_completed(std::move(children));
    auto first = co_await s.next();
    REQUIRE(first);
    CHECK(first->get() == 5);
    net::cancellation_signal signal;
    s.async_next(net::bind_cancellation_slot(signal.slot(), net::bind_executor(io, [&](std::exception_ptr e, auto) {
                                               ended = coproc::code_of(e) == aborted;
                                             })));
    co_await let_others_run();
    signal.emit(net::cancellation_type::terminal);
    co_await let_others_run();
    CHECK(ended);
    CHECK(seen == net::cancellation_type::none);
  };
  CHECK(run_to_end(io, body) == nullptr);
  CHECK(seen == net::cancellation_type::terminal);
}

TEST_CASE("children that were never started are destroyed") {
  net::io_context io;
  bool ran = false;
  {
    std::vector<net::awaitable<void>> children;
    children.push_back(set(ran));
    const auto s = as_completed(std::move(children));
  }
  io.run();
  CHECK_FALSE(ran);
}

TEST_CASE("as_completed takes tasks, which run already") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<coproc::task<int>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(create_task(io, value(i)));
    auto s = as_completed(std::move(tasks));
    int sum = 0;
    while (auto one = co_await s.next()) {
      const int n = one->get();
      CHECK(n == static_cast<int>(one->index));
      sum += n;
    }
    CHECK(sum == 10);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

} // namespace public_as_completed
