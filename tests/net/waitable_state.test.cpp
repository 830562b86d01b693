// SPDX-License-Identifier: BSL-1.0
// The shared half of channel and semaphore, on the smallest object that can be built from it: a gate.
#include <coproc/net/waitable_state.hpp>

#include "handlers.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace net = coproc::net;
using net::cancellation_type;
using namespace coproc::testing;

namespace {

class gate final : public coproc::detail::waitable_state<gate> {
  struct waiter : coproc::detail::operation<void(net::error_code)>, coproc::detail::waiter_links {
    static void fail(coproc::detail::operation_ptr<waiter> op, net::error_code e) noexcept {
      coproc::detail::post(std::move(op), e);
    }
  };

public:
  explicit gate(net::any_io_executor ex) : waitable_state(std::move(ex)) {}

  template <class Handler>
  void pass(Handler handler) {
    auto slot = net::get_associated_cancellation_slot(handler);
    const use context(executor_);
    REQUIRE(context);
    auto op =
        coproc::detail::make_operation<waiter>(std::move(handler), {}, *context, coproc::detail::work_tracking::here);
    op = settle_or_wait(&gate::waiters_, std::move(op), slot, [this] {
      ++attempts;
      return open_;
    });
    if (op) coproc::detail::post(std::move(op), net::error_code());
  }

  void open() {
    std::unique_lock lock(mutex_);
    open_ = true;
    auto all = waiters_.drain();
    lock.unlock();
    while (auto op = all.pop_front()) coproc::detail::post(std::move(op), net::error_code());
  }

  void drop_waiters() noexcept {
    std::unique_lock lock(mutex_);
    const auto all = waiters_.drain();
    lock.unlock();
  }

  int attempts = 0;

private:
  bool open_ = false;
  coproc::detail::waiter_list<waiter> waiters_;
};

} // namespace

TEST_CASE("what can be settled at once is given back, to be posted") {
  net::io_context io;
  auto g = gate::make(io.get_executor());
  g->open();
  int calls = 0;
  g->pass([&](net::error_code ec) { calls += ec ? 100 : 1; });
  CHECK(calls == 0);
  CHECK(g->attempts == 1);
  io.run();
  CHECK(calls == 1);
}

TEST_CASE("what waits keeps the context running until it is settled") {
  net::io_context io;
  auto g = gate::make(io.get_executor());
  int calls = 0;
  g->pass([&](net::error_code ec) { calls += ec ? 100 : 1; });
  CHECK_FALSE(out_of_work(io));
  g->open();
  io.run();
  CHECK(calls == 1);
}

TEST_CASE("any type of cancellation withdraws what waits, once") {
  for (auto type : {cancellation_type::terminal, cancellation_type::partial, cancellation_type::total}) {
    net::io_context io;
    auto g = gate::make(io.get_executor());
    net::cancellation_signal signal;
    std::vector<net::error_code> seen;
    const auto handler = [&](net::error_code ec) { seen.push_back(ec); };
    g->pass(handler);
    g->pass(net::bind_cancellation_slot(signal.slot(), handler));
    signal.emit(cancellation_type::none);
    io.poll();
    CHECK(seen.empty());
    signal.emit(type);
    signal.emit(type);
    CHECK(seen.empty()); // posted
    io.poll();
    CHECK(seen == std::vector<net::error_code>{net::error::operation_aborted});
    signal.emit(type);
    g->open();
    io.run();
    CHECK(seen.size() == 2);
    CHECK_FALSE(seen.back());
  }
}

TEST_CASE("a cancellation after the matter is settled is ignored") {
  net::io_context io;
  auto g = gate::make(io.get_executor());
  net::cancellation_signal signal;
  std::vector<net::error_code> seen;
  g->pass(net::bind_cancellation_slot(signal.slot(), [&](net::error_code ec) { seen.push_back(ec); }));
  g->open();
  signal.emit(cancellation_type::terminal);
  io.run();
  signal.emit(cancellation_type::terminal);
  CHECK(seen == std::vector<net::error_code>(1));
}

TEST_CASE("a signal may outlive the object, and the object the context") {
  net::cancellation_signal signal;
  auto witness = std::make_shared<int>();
  {
    std::optional<net::io_context> io(std::in_place);
    auto g = gate::make(io->get_executor());
    g->pass(net::bind_cancellation_slot(signal.slot(), [witness](net::error_code) { FAIL("invoked"); }));
    CHECK(witness.use_count() == 2);
    io.reset();
    CHECK(witness.use_count() == 1);
    signal.emit(cancellation_type::terminal);
  }
  signal.emit(cancellation_type::terminal);
}

TEST_CASE("an object is made on a context, on an executor of it, or on a strand") {
  net::io_context io;
  net::thread_pool pool(1);
  const auto strand = net::make_strand(io);
  CHECK(coproc::detail::executor_of(io) == net::any_io_executor(io.get_executor()));
  CHECK(coproc::detail::executor_of(io.get_executor()) == net::any_io_executor(io.get_executor()));
  CHECK(coproc::detail::executor_of(strand) == net::any_io_executor(strand));
  CHECK(coproc::detail::executor_of(pool) == net::any_io_executor(pool.get_executor()));
  STATIC_REQUIRE_FALSE(coproc::executor_or_context<int>);
}
