// SPDX-License-Identifier: BSL-1.0
// interval and every: no drift, missed ticks, cancellation, functions that throw, periods of zero.
#include <coproc/interval.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace public_interval {

namespace net = coproc::net;
using coproc::interval;
using coproc::missed;
using coproc::detail::tick_times;
using net::cancellation_type;
using namespace coproc::testing;
using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

const net::error_code aborted = net::error::operation_aborted;

} // namespace

TEST_CASE("ticks stay where they were planned, however late they are taken") {
  const clock::time_point t0 = clock::now();
  for (const auto what : {missed::skip, missed::catch_up}) {
    tick_times times(10ms, what, t0);
    CHECK(times.next() == t0 + 10ms);
    CHECK(times.take(t0 + 13ms) == 0);
    CHECK(times.next() == t0 + 20ms);
    CHECK(times.take(t0 + 20ms) == 0);
    CHECK(times.next() == t0 + 30ms);
  }
}

TEST_CASE("missed ticks are counted, and left out or made up for") {
  const clock::time_point t0 = clock::now();
  tick_times skips(10ms, missed::skip, t0);
  CHECK(skips.take(t0 + 39ms) == 2);
  CHECK(skips.next() == t0 + 40ms);
  CHECK(skips.take(t0 + 40ms) == 0);
  tick_times catches_up(10ms, missed::catch_up, t0);
  CHECK(catches_up.take(t0 + 39ms) == 2);
  CHECK(catches_up.next() == t0 + 20ms);
  CHECK(catches_up.take(t0 + 39ms) == 1);
  CHECK(catches_up.take(t0 + 39ms) == 0);
  CHECK(catches_up.next() == t0 + 40ms);
}

TEST_CASE("a period of zero, or below, is an error that names it; one without limit never ticks") {
  net::io_context io;
  for (const auto period : {0ns, -1ns}) {
    CHECK_THROWS_AS(interval(io, period), std::invalid_argument);
    CHECK_THROWS_WITH(interval(io, period), "coproc: interval: the period must be positive");
    CHECK_THROWS_WITH(coproc::every(period, [] {}), "coproc: every: the period must be positive");
  }
  tick_times never(coproc::unlimited, missed::skip, clock::now());
  CHECK(never.next() == clock::time_point::max());
}

TEST_CASE("an interval waits for its ticks; what was missed comes at once") {
  net::io_context io;
  const auto body = [&]() -> net::awaitable<void> {
    const auto begin = clock::now();
    interval ticks(io, 2ms, missed::catch_up);
    co_await ticks.next(); // not within CHECK, nor are the next ones: g++ 12 destroys its temporaries twice
    CHECK(clock::now() - begin >= 2ms);
    while (clock::now() - begin < 9ms) { // the loop is busy: the ticks at 4, 6 and 8 ms are due
    }
    const auto second = co_await ticks.next();
    CHECK(second >= 2);
    const auto third = co_await ticks.async_next();
    CHECK(third >= 1);
    auto both = co_await ticks.async_next(coproc::as_tuple(net::use_awaitable));
    CHECK_FALSE(std::get<0>(both));
  };
  CHECK_FALSE(run_to_end(io, body));
}

TEST_CASE("a wait for a tick never completes inside the call, and is cancelled with every type") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    interval ticks(io, 1h);
    net::cancellation_signal signal;
    std::vector<net::error_code> codes;
    ticks.async_next(
        net::bind_cancellation_slot(signal.slot(), [&](net::error_code e, std::uint64_t) { codes.push_back(e); }));
    signal.emit(type);
    CHECK(codes.empty());
    io.run();
    CHECK(codes == std::vector<net::error_code>{aborted});
  }
  net::io_context io;
  std::vector<net::error_code> codes;
  std::optional<interval> ticks(std::in_place, io, 1h);
  const auto note = [&](net::error_code e, std::uint64_t) { codes.push_back(e); };
  ticks->async_next(note);
  ticks->async_next(note); // ends the first
  io.poll();
  CHECK(codes == std::vector<net::error_code>{aborted});
  ticks.reset();
  io.restart();
  io.run();
  CHECK(codes == std::vector<net::error_code>{aborted, aborted});
}

TEST_CASE("every calls its function until that throws, and awaits an awaitable") {
  net::io_context io;
  int calls = 0;
  const auto plain = [&]() -> net::awaitable<void> {
    co_await coproc::every(1ms, [&] {
      if (++calls == 3) throw std::runtime_error("three");
    });
  };
  const auto e = run_to_end(io, plain);
  REQUIRE(e);
  CHECK_THROWS_WITH(std::rethrow_exception(e), "three");
  CHECK(calls == 3);
  const auto coroutine = [&]() -> net::awaitable<void> {
    co_await coproc::every(1ms, [&]() -> net::awaitable<void> {
      co_await let_others_run();
      if (++calls == 6) throw std::runtime_error("six");
    });
  };
  const auto e2 = run_to_end(io, coroutine);
  REQUIRE(e2);
  CHECK_THROWS_WITH(std::rethrow_exception(e2), "six");
  CHECK(calls == 6);
}

TEST_CASE("every ends when it is cancelled: while it waits, and while its function does") {
  for (const bool in_function : {false, true}) {
    net::io_context io;
    net::cancellation_signal signal;
    std::exception_ptr error;
    bool inside = false;
    const auto body = [&]() -> net::awaitable<void> {
      co_await coproc::every(in_function ? coproc::duration(1ms) : coproc::duration(1h), [&]() -> net::awaitable<void> {
        inside = true;
        net::post(io, [&] { signal.emit(cancellation_type::terminal); });
        co_await wait_for_ever();
      });
    };
    net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
    io.poll();
    if (!in_function) signal.emit(cancellation_type::terminal);
    io.restart();
    io.run();
    REQUIRE(error);
    CHECK_THROWS_AS(std::rethrow_exception(error), net::system_error);
    CHECK(inside == in_function);
  }
}

} // namespace public_interval
