// SPDX-License-Identifier: BSL-1.0
// mutex: one at a time, in order, cancellation of who waits, bad use, both orders of destruction.
#include <coproc/mutex.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace public_mutex {

namespace net = coproc::net;
using coproc::mutex;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

const net::error_code aborted = net::error::operation_aborted;

/// What callbacks were told, in order; keeps the guards.
struct told {
  std::vector<net::error_code> codes;
  std::vector<mutex::guard> guards;

  auto on_lock() {
    return [this](net::error_code ec, mutex::guard g) {
      codes.push_back(ec);
      CHECK(bool(g) == !ec);
      if (g) guards.push_back(std::move(g));
    };
  }
};

void run(net::io_context& io) {
  io.restart();
  io.run();
}

} // namespace

TEST_CASE("one holds a mutex at a time, across what it awaits, and on several threads") {
  net::io_context io;
  mutex m(io);
  int value = 0; // guarded by m
  int ends = 0;
  const auto visitor = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 100; ++i) {
      const auto guard = co_await m.lock();
      const int before = value;
      co_await net::post(net::use_awaitable);
      value = before + 1;
      if (i == 99) ++ends;
    }
  };
  for (int i = 0; i < 8; ++i) net::co_spawn(net::make_strand(io), visitor, net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(value == 800);
  CHECK(ends == 8);
  CHECK(m.try_lock());
}

TEST_CASE("who asked first is first; nobody overtakes") {
  net::io_context io;
  mutex m(io);
  std::vector<int> order;
  auto held = m.try_lock();
  REQUIRE(held);
  CHECK_FALSE(m.try_lock());
  for (int i = 0; i < 4; ++i) m.async_lock([&, i](net::error_code, mutex::guard) { order.push_back(i); });
  held.reset();
  CHECK_FALSE(m.try_lock()); // it is the first one's already
  run(io);
  CHECK(order == std::vector<int>{0, 1, 2, 3});
}

TEST_CASE("a coroutine that finds it free goes on at once; a handler is never called inside the call") {
  net::io_context io;
  mutex m(io);
  bool went_on = false;
  const auto body = [&]() -> net::awaitable<void> {
    const auto guard = co_await m.lock();
    went_on = true;
  };
  net::post(io, [&] {
    net::co_spawn(io, body, net::detached); // begins inside
    CHECK(went_on);
  });
  run(io);
  CHECK(went_on);
  told t;
  m.async_lock(t.on_lock());
  CHECK(t.codes.empty());
  run(io);
  CHECK(t.codes == std::vector<net::error_code>(1));
}

TEST_CASE("who waits for a mutex and is cancelled gets none, and the next one does") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    mutex m(io);
    told t;
    net::cancellation_signal first, second;
    auto held = m.try_lock();
    m.async_lock(net::bind_cancellation_slot(first.slot(), t.on_lock()));
    m.async_lock(net::bind_cancellation_slot(second.slot(), t.on_lock()));
    first.emit(type);
    held.reset();
    second.emit(type); // too late: it has the lock
    run(io);
    CHECK(t.codes == std::vector<net::error_code>{aborted, {}});
    t.guards.clear();
    CHECK(m.try_lock());
  }
}

TEST_CASE("a coroutine that is cancelled while it waits for a mutex ends with operation_aborted") {
  net::io_context io;
  mutex m(io);
  net::cancellation_signal signal;
  std::exception_ptr error;
  auto held = m.try_lock();
  const auto body = [&]() -> net::awaitable<void> {
    const auto guard = co_await m.lock();
    FAIL("locked");
  };
  net::co_spawn(io, body, net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e) { error = e; }));
  io.poll();
  signal.emit(cancellation_type::terminal);
  run(io);
  REQUIRE(error);
  CHECK_THROWS_AS(std::rethrow_exception(error), net::system_error);
  held->release();
  CHECK(m.try_lock());
}

TEST_CASE("a mutex that is destroyed while it is locked and awaited: who waits is told, who holds it keeps it") {
  net::io_context io;
  told t;
  std::optional<mutex> m(std::in_place, io);
  auto held = m->try_lock();
  m->async_lock(t.on_lock());
  m.reset();
  CHECK(t.codes.empty());
  run(io);
  CHECK(t.codes == std::vector<net::error_code>{aborted});
  CHECK(*held);
  held->release();

  mutex assigned(io);
  assigned = mutex(io);
  mutex moved(std::move(assigned));
  CHECK(moved.try_lock());
}

TEST_CASE("every completion token locks a mutex") {
  net::io_context io;
  mutex m(io);
  auto future = m.async_lock(net::use_future);
  run(io);
  CHECK(future.get());
  auto later = m.async_lock(coproc::deferred);
  CHECK(m.try_lock());
  told t;
  std::move(later)(t.on_lock());
  run(io);
  CHECK(t.guards.size() == 1);
  t.guards.clear();
  int done = 0;
  const auto body = [&]() -> net::awaitable<void> {
    auto both = co_await m.async_lock(coproc::as_tuple(net::use_awaitable));
    CHECK(std::get<1>(both));
    std::get<1>(both).release();
    auto guard = co_await m.async_lock();
    CHECK(guard);
    ++done;
  };
  net::co_spawn(io, body, net::detached);
  run(io);
  CHECK(done == 1);
}

namespace {

net::awaitable<void> lock_and_keep(mutex& m, std::shared_ptr<int>) {
  auto guard = co_await m.lock();
  co_await wait_for_ever();
}

} // namespace

TEST_CASE("20,000 who wait for a mutex go with the context, without recursion") {
  std::optional<net::io_context> io(std::in_place);
  const auto witness = std::make_shared<int>();
  mutex m(*io);
  for (int i = 0; i < 20'000; ++i) net::co_spawn(*io, lock_and_keep(m, witness), net::detached);
  io->poll();
  CHECK(witness.use_count() == 20'001);
  io.reset();
  CHECK(witness.use_count() == 1);
  CHECK(m.try_lock());
}

} // namespace public_mutex
