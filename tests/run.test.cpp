// SPDX-License-Identifier: BSL-1.0
// run: results, exceptions, what becomes of the rest; on a context of its own and on one of the program, with pools on
// either.
#include <coproc/run.hpp>

#include "net/handlers.hpp"
#include "support/run.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
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

TEST_CASE("run(io, main) runs the loop of the program until main has ended, and leaves the rest there") {
  net::io_context io;
  bool resumed = false;
  net::steady_timer background(io, std::chrono::hours(1));
  background.async_wait([&](net::error_code) { resumed = true; });
  CHECK(coproc::run(io, number(4)).value == 4);
  CHECK(*coproc::run(io, pointer()) == 3);
  CHECK_FALSE(resumed);
  CHECK_FALSE(io.stopped());
  background.cancel();
  io.run();
  CHECK(resumed);
}

TEST_CASE("run(io, main) rethrows what main throws, and io can be run again") {
  net::io_context io;
  const auto failing = []() -> net::awaitable<void> {
    co_await let_others_run();
    throw std::runtime_error("from main");
  };
  CHECK_THROWS_WITH(coproc::run(io, failing()), "from main");
  CHECK(coproc::run(io, number(1)).value == 1);
}

TEST_CASE("run(io, main): a main that nobody can wake is an error") {
  net::io_context io;
  const auto stuck = []() -> net::awaitable<void> {
    auto forgotten = net::async_initiate<const net::use_awaitable_t<>, void()>(forget_handler(), net::use_awaitable);
    co_await std::move(forgotten);
  };
  CHECK_THROWS_AS(coproc::run(io, stuck()), std::logic_error);
}

namespace {

int square(int n) { return n * n; }

net::awaitable<int> answer(coproc::process_pool& pool) { co_return co_await coproc::run_in_executor(pool, square, 6); }

net::awaitable<int> answer_later(coproc::process_pool& pool) {
  auto task = pool.submit(square, 7);
  co_return co_await std::move(task);
}

net::awaitable<void> end(coproc::process_pool& pool) { co_await pool.shutdown(); }

void check_refused(const std::exception_ptr& e) {
  REQUIRE(e);
  try {
    std::rethrow_exception(e);
  } catch (const coproc::pool_error& error) {
    CHECK(error.code() == coproc::errc::wrong_context);
    CHECK(std::string(error.what()).find("use coproc::run(io, awaitable)") != std::string::npos);
  }
}

template <class F>
std::exception_ptr thrown_by(F f) {
  try {
    f();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

} // namespace

TEST_CASE("a pool on another context, which nobody runs: the wait for it is refused, and does not hang") {
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  check_refused(thrown_by([&] { coproc::run(answer(pool)); }));
  check_refused(thrown_by([&] { coproc::run(answer_later(pool)); }));
  check_refused(thrown_by([&] { coproc::run(end(pool)); }));
  CHECK(coproc::run(io, answer(pool)) == 36); // the way out
  CHECK(coproc::run(io, answer_later(pool)) == 49);
  coproc::run(io, end(pool));
}

TEST_CASE("a pool on the context of run, or on one that another thread runs, is used") {
  const auto main_coroutine = []() -> net::awaitable<int> {
    coproc::process_pool pool(co_await net::this_coro::executor, {.max_workers = 1});
    co_return co_await answer(pool) + co_await answer_later(pool);
  };
  CHECK(coproc::run(main_coroutine()) == 85);
  net::io_context io;
  coproc::process_pool pool(io, {.max_workers = 1});
  auto guard = net::make_work_guard(io);
  std::thread other([&] { io.run(); });
  CHECK(coproc::run(answer(pool)) == 36);
  CHECK(coproc::run(answer_later(pool)) == 49);
  guard.reset();
  other.join();
}

} // namespace public_run
