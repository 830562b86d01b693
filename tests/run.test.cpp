// SPDX-License-Identifier: BSL-1.0
// run: results, exceptions, what becomes of the rest.
#include <coproc/run.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

namespace public_run {

namespace net = coproc::net;
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

net::awaitable<std::unique_ptr<int>> pointer() { co_return std::make_unique<int>(3); }

net::awaitable<void> check_thread(std::thread::id& id) {
  co_await let_others_run();
  id = std::this_thread::get_id();
}

} // namespace

TEST_CASE("run gives main's result, on this thread") {
  CHECK(coproc::run(number(4)).value == 4);
  CHECK(*coproc::run(pointer()) == 3);
  std::thread::id id;
  coproc::run(check_thread(id));
  CHECK(id == std::this_thread::get_id());
}

TEST_CASE("run rethrows what main throws, and destroys the rest") {
  auto witness = std::make_shared<int>();
  const auto background = [](std::shared_ptr<int>) -> net::awaitable<void> {
    co_await wait_for_ever();
    FAIL("resumed");
  };
  const auto main_coroutine = [&]() -> net::awaitable<void> {
    net::any_io_executor ex = co_await net::this_coro::executor;
    net::co_spawn(ex, background(witness), net::detached);
    co_await let_others_run();
    throw std::runtime_error("from main");
  };
  CHECK_THROWS_WITH(coproc::run(main_coroutine()), "from main");
  CHECK(witness.use_count() == 1);
}

TEST_CASE("run returns when everything that main started has ended too") {
  int ended = 0;
  const auto background = [&]() -> net::awaitable<void> {
    co_await let_others_run();
    ++ended;
  };
  const auto main_coroutine = [&]() -> net::awaitable<int> {
    net::any_io_executor ex = co_await net::this_coro::executor;
    for (int i = 0; i < 3; ++i) net::co_spawn(ex, background(), net::detached);
    co_return 1;
  };
  CHECK(coproc::run(main_coroutine()) == 1);
  CHECK(ended == 3);
}

TEST_CASE("runs nest") {
  const auto inner = []() -> net::awaitable<int> {
    auto n = co_await number(5);
    co_return n.value;
  };
  const auto outer = [&]() -> net::awaitable<int> {
    co_await let_others_run();
    co_return coproc::run(inner()) + 1;
  };
  CHECK(coproc::run(outer()) == 6);
}

namespace {

struct forget_handler {
  template <class Handler>
  void operator()(Handler handler) const {
    static_cast<void>(Handler(std::move(handler)));
  }
};

} // namespace

TEST_CASE("a main that nobody can wake is an error, not silence") {
  const auto stuck = []() -> net::awaitable<void> {
    auto forgotten = net::async_initiate<const net::use_awaitable_t<>, void()>(forget_handler(), net::use_awaitable);
    co_await std::move(forgotten);
  };
  CHECK_THROWS_AS(coproc::run(stuck()), std::logic_error);
}

} // namespace public_run
