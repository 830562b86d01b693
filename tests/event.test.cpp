// SPDX-License-Identifier: BSL-1.0
// event: who waits is woken, in order and once; cancellation, threads, both orders of destruction.
#include <coproc/event.hpp>

#include "net/handlers.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace public_event {

namespace net = coproc::net;
using coproc::event;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

const net::error_code aborted = net::error::operation_aborted;

void run(net::io_context& io) {
  io.restart();
  io.run();
}

} // namespace

TEST_CASE("set wakes all who wait, in order, never inside the call, and stays until clear") {
  net::io_context io;
  event e(io);
  std::vector<int> order;
  for (int i = 0; i < 3; ++i)
    e.async_wait([&, i](net::error_code ec) {
      CHECK_FALSE(ec);
      order.push_back(i);
    });
  CHECK_FALSE(e.is_set());
  io.poll();
  CHECK(order.empty());
  e.set();
  e.set();
  CHECK(e.is_set());
  CHECK(order.empty());
  run(io);
  CHECK(order == std::vector<int>{0, 1, 2});
  e.async_wait([&](net::error_code ec) { order.push_back(ec ? -1 : 3); });
  CHECK(order.size() == 3);
  run(io);
  CHECK(order.back() == 3);
  e.clear();
  CHECK_FALSE(e.is_set());
  e.async_wait([&](net::error_code ec) { order.push_back(ec ? -1 : 4); });
  io.restart();
  io.poll();
  CHECK(order.back() == 3);
  e.set();
  e.clear(); // who has begun to wait is woken all the same
  run(io);
  CHECK(order.back() == 4);
}

TEST_CASE("a wait for an event that is cancelled, with every type") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    event e(io);
    std::vector<net::error_code> codes;
    const auto note = [&](net::error_code ec) { codes.push_back(ec); };
    net::cancellation_signal first, second;
    e.async_wait(net::bind_cancellation_slot(first.slot(), note));
    e.async_wait(net::bind_cancellation_slot(second.slot(), note));
    first.emit(type);
    e.set();
    second.emit(type); // too late
    run(io);
    CHECK(codes == std::vector<net::error_code>{aborted, {}});
  }
}

TEST_CASE("an event that is destroyed while it is awaited") {
  net::io_context io;
  std::vector<net::error_code> codes;
  const auto note = [&](net::error_code ec) { codes.push_back(ec); };
  std::optional<event> e(std::in_place, io);
  e->async_wait(note);
  auto later = e->async_wait(coproc::deferred);
  e.reset();
  CHECK(codes.empty());
  run(io);
  std::move(later)(note);
  run(io);
  CHECK(codes == std::vector<net::error_code>(2, aborted));

  event assigned(io);
  assigned = event(io);
  event moved(std::move(assigned));
  moved.set();
  CHECK(moved.is_set());
}

TEST_CASE("every completion token waits for an event") {
  net::io_context io;
  event e(io);
  e.set();
  auto future = e.async_wait(net::use_future);
  run(io);
  future.get();
  int done = 0;
  const auto body = [&]() -> net::awaitable<void> {
    co_await e.wait();
    co_await e.async_wait();
    auto code = co_await e.async_wait(coproc::as_tuple(net::use_awaitable));
    CHECK_FALSE(std::get<0>(code));
    ++done;
  };
  net::co_spawn(io, body, net::detached);
  run(io);
  CHECK(done == 1);
}

TEST_CASE("no wake-up is lost between threads that set, clear, wait and cancel") {
  net::io_context io;
  auto work = net::make_work_guard(io);
  event ping(io), pong(io);
  std::atomic<int> rounds = 0;
  const auto one = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 1000; ++i) {
      ping.set();
      co_await pong.wait();
      pong.clear();
    }
  };
  const auto other = [&]() -> net::awaitable<void> {
    for (int i = 0; i < 1000; ++i) {
      co_await ping.wait();
      ping.clear();
      ++rounds;
      pong.set();
    }
    work.reset();
  };
  net::co_spawn(net::make_strand(io), one, net::detached);
  net::co_spawn(net::make_strand(io), other, net::detached);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { io.run(); });
  for (auto& t : threads) t.join();
  CHECK(rounds == 1000);
}

namespace {

net::awaitable<void> wait_and_keep(event& e, std::shared_ptr<int>) { co_await e.wait(); }

} // namespace

TEST_CASE("20,000 who wait for an event go with the context, without recursion") {
  std::optional<net::io_context> io(std::in_place);
  const auto witness = std::make_shared<int>();
  event e(*io);
  for (int i = 0; i < 20'000; ++i) net::co_spawn(*io, wait_and_keep(e, witness), net::detached);
  io->poll();
  CHECK(witness.use_count() == 20'001);
  io.reset();
  CHECK(witness.use_count() == 1);
  e.set();
  CHECK(e.is_set());
  CHECK_FALSE(e.get_executor());
}

} // namespace public_event
