// SPDX-License-Identifier: BSL-1.0
// gather_settled: values and exceptions of all children, none of whom is cancelled because of another.
#include <coproc/gather_settled.hpp>

#include "net/handlers.hpp"

#include <coproc/run.hpp>

#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace public_gather_settled {

namespace net = coproc::net;
using namespace coproc::testing;

namespace {

struct no_default {
  explicit no_default(int n) : value(n) {}
  int value;
};

net::awaitable<no_default> number(int n) {
  for (int i = 0; i < 10; ++i) co_await let_others_run();
  co_return no_default(n);
}

net::awaitable<std::string> fail() {
  co_await let_others_run();
  throw std::runtime_error("of its own");
}

net::awaitable<void> note(int& ended) {
  for (int i = 0; i < 10; ++i) co_await let_others_run();
  ++ended;
}

} // namespace

TEST_CASE("a failure is a result, and the others go on") {
  int ended = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto all = co_await coproc::gather_settled(fail(), number(7), note(ended));
    auto& [failure, value, nothing] = all;
    CHECK_FALSE(failure);
    CHECK(failure.error());
    CHECK_THROWS_WITH(failure.get(), "of its own");
    CHECK(value.has_value());
    CHECK_FALSE(value.error());
    CHECK(value.get().value == 7);
    CHECK(std::move(value).get().value == 7);
    CHECK(nothing);
    nothing.get();
  };
  coproc::run(body());
  CHECK(ended == 1);
}

TEST_CASE("a range of children gives a vector, in order") {
  const auto odd = [](int n) -> net::awaitable<std::unique_ptr<int>> {
    co_await let_others_run();
    if (n % 2 == 0) throw std::out_of_range(std::to_string(n));
    co_return std::make_unique<int>(n);
  };
  const auto body = [&]() -> net::awaitable<void> {
    std::vector<net::awaitable<std::unique_ptr<int>>> children;
    for (int i = 0; i < 5; ++i) children.push_back(odd(i));
    auto all = co_await coproc::gather_settled(std::move(children));
    REQUIRE(all.size() == 5);
    for (int i = 0; i < 5; ++i) {
      auto& one = all[static_cast<std::size_t>(i)];
      CHECK(one.has_value() == (i % 2 == 1));
      if (one)
        CHECK(*std::move(one).get() == i);
      else
        CHECK_THROWS_AS(one.get(), std::out_of_range);
    }
  };
  coproc::run(body());
}

TEST_CASE("an outer cancellation reaches every child, and shows in what they end with") {
  net::io_context io;
  net::cancellation_signal signal;
  int aborted = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto all = co_await coproc::gather_settled(wait_for_ever(), wait_for_ever());
    const auto look = [&](const auto& one) {
      aborted += coproc::code_of(one.error()) == net::error::operation_aborted;
    };
    look(std::get<0>(all));
    look(std::get<1>(all));
  };
  net::co_spawn(io, body(), net::bind_cancellation_slot(signal.slot(), net::detached));
  io.poll();
  signal.emit(net::cancellation_type::terminal);
  io.run();
  CHECK(aborted == 2);
}

} // namespace public_gather_settled
