// SPDX-License-Identifier: BSL-1.0
// with_timeout: values, failures, expiry, the race between them, outer cancellation, destruction.
#include <coproc/with_timeout.hpp>

#include <coproc/bounded_channel.hpp>
#include <coproc/gather.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace public_with_timeout {

namespace net = coproc::net;
using coproc::with_timeout;
using net::cancellation_type;
using namespace coproc::testing;
using namespace std::chrono_literals;

namespace {

struct no_default {
  explicit no_default(int n) : value(n) {}
  int value;
};

net::awaitable<no_default> number(int n) {
  co_await let_others_run();
  co_return no_default(n);
}

net::awaitable<void> fail() {
  co_await let_others_run();
  throw std::runtime_error("of its own");
}

} // namespace

TEST_CASE("what ends in time gives its value, and nobody waits for the timer") {
  net::io_context io;
  const auto begin = std::chrono::steady_clock::now();
  const auto body = []() -> net::awaitable<void> {
    auto n = co_await with_timeout(1h, number(7));
    CHECK(n.value == 7);
    co_await with_timeout(coproc::duration::max() - 1ns, let_others_run());
  };
  CHECK(run_to_end(io, body) == nullptr);
  CHECK(std::chrono::steady_clock::now() - begin < 30min);
}

TEST_CASE("limit and operation come in either order") {
  net::io_context io;
  const auto in_time = []() -> net::awaitable<void> {
    auto n = co_await with_timeout(number(7), 1h);
    CHECK(n.value == 7);
    co_await with_timeout(let_others_run(), coproc::unlimited);
  };
  CHECK(run_to_end(io, in_time) == nullptr);
  const auto too_late = []() -> net::awaitable<void> { co_await with_timeout(wait_for_ever(), 20ms); };
  CHECK_THROWS_WITH(std::rethrow_exception(run_to_end(io, too_late)), Catch::Contains("is 0.02 s"));
  CHECK_THROWS_AS(with_timeout(number(7), 0s), std::invalid_argument);
}

TEST_CASE("what fails in time fails with its own exception") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> { co_await with_timeout(1h, fail()); };
  CHECK_THROWS_WITH(std::rethrow_exception(run_to_end(io, body)), "of its own");
}

TEST_CASE("on expiry the operation gets terminal cancellation, is awaited, and timed_out is thrown") {
  net::io_context io;
  cancellation_type seen = cancellation_type::none;
  bool cleaned_up = false;
  const auto careful = [&]() -> net::awaitable<no_default> {
    auto state = co_await net::this_coro::cancellation_state;
    std::exception_ptr error;
    try {
      co_await wait_for_ever();
    } catch (...) {
      seen = state.cancelled();
      error = std::current_exception();
    }
    co_await net::this_coro::reset_cancellation_state();
    co_await let_others_run();
    cleaned_up = true;
    std::rethrow_exception(error);
  };
  const auto body = [&]() -> net::awaitable<void> { co_await with_timeout(1ms, careful()); };
  const auto error = run_to_end(io, body);
  CHECK(seen == cancellation_type::terminal);
  CHECK(cleaned_up);
  try {
    std::rethrow_exception(error);
  } catch (const coproc::timed_out& e) {
    CHECK(e.code() == coproc::errc::timed_out);
    CHECK(e.code() == std::errc::timed_out);
    CHECK(dynamic_cast<const std::nested_exception*>(&e) == nullptr);
    CHECK(std::string(e.what()).find("the limit of with_timeout is 0.001 s") == 0);
  }
  CHECK_THROWS_AS(std::rethrow_exception(error), coproc::pool_error);
}

TEST_CASE("an operation that completes with a value all the same wins over the time-out") {
  net::io_context io;
  const auto stubborn = []() -> net::awaitable<int> {
    try {
      co_await wait_for_ever();
    } catch (const net::system_error&) {
    }
    co_return 5;
  };
  const auto body = [&]() -> net::awaitable<void> {
    auto n = co_await with_timeout(1ms, stubborn());
    CHECK(n == 5);
  };
  CHECK(run_to_end(io, body) == nullptr);
}

TEST_CASE("what goes wrong during the cancellation is nested in timed_out") {
  net::io_context io;
  const auto clumsy = []() -> net::awaitable<void> {
    try {
      co_await wait_for_ever();
    } catch (const net::system_error&) {
      throw std::logic_error("while cleaning up");
    }
  };
  const auto body = [&]() -> net::awaitable<void> { co_await with_timeout(1ms, clumsy()); };
  try {
    std::rethrow_exception(run_to_end(io, body));
  } catch (const coproc::timed_out& e) {
    CHECK_THROWS_WITH(std::rethrow_if_nested(e), "while cleaning up");
    return;
  }
  FAIL("no timed_out");
}

TEST_CASE("an outer cancellation is forwarded with its type, and is no time-out") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    net::cancellation_signal signal;
    cancellation_type seen = cancellation_type::none;
    std::exception_ptr error;
    const auto inner = [&]() -> net::awaitable<void> {
      auto state = co_await net::this_coro::cancellation_state;
      try {
        co_await wait_for_ever();
      } catch (...) {
        seen = state.cancelled();
        throw;
      }
    };
    const auto body = [&]() -> net::awaitable<void> {
      co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
      co_await with_timeout(1h, inner());
    };
    net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
    io.poll();
    CHECK(error == nullptr);
    signal.emit(type);
    io.run();
    CHECK(seen == type);
    CHECK(coproc::code_of(error) == net::error::operation_aborted);
  }
}

TEST_CASE("an operation that goes on after a weak cancellation remains limited") {
  net::io_context io;
  net::cancellation_signal signal;
  std::exception_ptr error;
  const auto deaf = []() -> net::awaitable<void> {
    co_await net::this_coro::reset_cancellation_state(net::enable_terminal_cancellation());
    co_await wait_for_ever();
  };
  const auto body = [&]() -> net::awaitable<void> {
    co_await net::this_coro::reset_cancellation_state(net::enable_total_cancellation());
    co_await with_timeout(20ms, deaf());
  };
  net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
  io.poll();
  signal.emit(cancellation_type::total);
  io.run();
  CHECK(coproc::code_of(error) == coproc::errc::timed_out);
}

TEST_CASE("a limit of zero or less is an error of the call itself") {
  for (auto limit : {0ns, -1ns, coproc::duration::min()})
    CHECK_THROWS_AS(static_cast<void>(with_timeout(limit, let_others_run())), std::invalid_argument);
}

TEST_CASE("unlimited means to await the operation itself, where the caller runs") {
  net::io_context io;
  const auto where = []() -> net::awaitable<net::any_io_executor> {
    net::any_io_executor ex = co_await net::this_coro::executor;
    co_return ex;
  };
  const auto body = [&]() -> net::awaitable<void> {
    auto ex = co_await with_timeout(coproc::unlimited, where());
    CHECK(ex == net::any_io_executor(io.get_executor()));
    auto n = co_await with_timeout(coproc::unlimited, number(3));
    CHECK(n.value == 3);
    co_await with_timeout(coproc::unlimited, fail());
  };
  CHECK_THROWS_WITH(std::rethrow_exception(run_to_end(io, body)), "of its own");
}

TEST_CASE("time-outs nest: the shorter one wins") {
  net::io_context io;
  const auto body = []() -> net::awaitable<void> {
    auto results = co_await coproc::gather(with_timeout(1h, number(1)), with_timeout(1h, number(2)));
    CHECK(std::get<1>(results).value == 2);
    co_await with_timeout(1h, with_timeout(1ms, wait_for_ever()));
  };
  CHECK(coproc::code_of(run_to_end(io, body)) == coproc::errc::timed_out);
  const auto other = []() -> net::awaitable<void> { co_await with_timeout(1ms, with_timeout(1h, wait_for_ever())); };
  CHECK(coproc::code_of(run_to_end(io, other)) == coproc::errc::timed_out);
}

TEST_CASE("a timed receive that expires consumes nothing") {
  net::io_context io;
  coproc::bounded_channel<int> channel(io, 1);
  const auto body = [&]() -> net::awaitable<void> { co_await with_timeout(1ms, channel.receive()); };
  CHECK(coproc::code_of(run_to_end(io, body)) == coproc::errc::timed_out);
  CHECK(channel.try_send(1));
  CHECK(channel.try_receive() == 1);
}

TEST_CASE("many time-outs race with their operations on several threads") {
  net::io_context io;
  coproc::bounded_channel<int> channel(io, 1);
  std::atomic<int> received = 0, expired = 0, sent = 0;
  const auto receive = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 100; ++i) {
      try {
        auto message = co_await with_timeout(std::chrono::microseconds(1 + i), channel.receive());
        received += message ? 1 : 0;
      } catch (const coproc::timed_out&) {
        ++expired;
      }
    }
  };
  const auto send = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 100; ++i) {
      try {
        co_await with_timeout(std::chrono::microseconds(100 - i), channel.send(i));
        ++sent;
      } catch (const coproc::timed_out&) {
        ++expired;
      }
    }
  };
  for (int i = 0; i < 3; ++i) {
    net::co_spawn(io, receive, net::detached);
    net::co_spawn(io, send, net::detached);
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  while (channel.try_receive()) ++received;
  CHECK(sent == received);
  CHECK(expired <= 600);
}

TEST_CASE("a context destroyed in the middle takes operation and caller with it") {
  auto witness = std::make_shared<int>();
  {
    net::io_context io;
    net::co_spawn(
        io,
        [witness]() -> net::awaitable<void> {
          co_await with_timeout(1h, wait_for_ever());
          FAIL("resumed");
        },
        net::detached);
    io.poll();
    CHECK(witness.use_count() == 2);
  }
  CHECK(witness.use_count() == 1);
}

} // namespace public_with_timeout
